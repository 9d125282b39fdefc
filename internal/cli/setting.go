package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// settings are what every command knows: flags, else ORDERLOG_* variables, else
// a file, else defaults.
type settings struct {
	brokers   []string
	registry  string // with user and password, once completed
	namespace string
	config    string
	output    string
	noColor   bool
	logLevel  string
	logFormat string
	security
}

func (c *settings) flags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&c.brokers, "brokers", []string{"127.0.0.1:9092"}, "Kafka brokers to start from, `HOST:PORT,...`")
	fs.StringVar(&c.registry, "registry", "http://127.0.0.1:8081", "schema registry `URL`")
	fs.StringVar(&c.namespace, "namespace", "", "`PREFIX` of topics, groups and transactional IDs; a dot comes after it")
	c.security.flags(fs)
	fs.StringVar(&c.config, "config", "", "settings `FILE` (default ./orderlog.yaml, then orderlog/config.yaml in the user's configuration)")
	fs.VarP(newChoice(&c.output, outputText, outputText, outputJSON), "output", "o", "what to print")
	fs.BoolVar(&c.noColor, "no-color", false, "no colour (also NO_COLOR)")
	fs.Var(newChoice(&c.logLevel, "warn", "debug", "info", "warn", "error"), "log-level", "how much to log to stderr")
	fs.Var(newChoice(&c.logFormat, "text", "text", "json"), "log-format", "how to log")
}

// settable marks local flags of cmd that may also come from the environment and
// the settings file, as the global ones may.
func settable(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		f := cmd.Flags().Lookup(name)
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[settableMark] = []string{"true"}
	}
}

const settableMark = "orderlog.settable"

const configFlag = "config"

// fill sets every flag of cmd that the command line left alone from the
// environment or the file.
func fill(cmd *cobra.Command, env Env) error {
	fromEnv := map[string]bool{}
	var errs []error
	eachSettable(cmd, func(f *pflag.Flag) {
		name := envName(f.Name)
		if value := env.Getenv(name); value != "" && !f.Changed {
			fromEnv[f.Name] = true
			if err := cmd.Flags().Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("%s=%q: %w", name, value, cause(err)))
			}
		}
	})
	if len(errs) > 0 {
		return &usageError{errs[0]}
	}
	path, content, err := readConfig(cmd, env)
	if err != nil || path == "" {
		return err
	}
	values, err := parseConfig(cmd.Root(), path, content)
	if err != nil {
		return err
	}
	eachSettable(cmd, func(f *pflag.Flag) {
		if value, ok := values[f.Name]; ok && !f.Changed && !fromEnv[f.Name] {
			if err := cmd.Flags().Set(f.Name, value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", path, f.Name, cause(err)))
			}
		}
	})
	if len(errs) > 0 {
		return &usageError{errs[0]}
	}
	return nil
}

func envName(flag string) string {
	return "ORDERLOG_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// cause is pflag's error without the flag's name, which may not have been typed,
// and says what is wanted where that is a number.
func cause(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	var number *strconv.NumError
	if !errors.As(err, &number) {
		return bad.Unwrap()
	}
	kind := bad.GetFlag().Value.Type()
	word, _ := pflag.UnquoteUsage(bad.GetFlag())
	switch {
	case word == "RATE":
		return errors.New("want a rate from 0 to 1, e.g. 0.05")
	case kind == "bool":
		return errors.New("want true or false")
	case strings.HasPrefix(kind, "float"):
		return errors.New("want a number")
	case errors.Is(number, strconv.ErrRange):
		return errors.New("too large a number")
	}
	return errors.New("want a whole number")
}

func eachSettable(cmd *cobra.Command, do func(*pflag.Flag)) {
	global := cmd.Root().PersistentFlags()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if global.Lookup(f.Name) == f || len(f.Annotations[settableMark]) > 0 {
			do(f)
		}
	})
}

// settingNames are the keys that a settings file may have.
func settingNames(root *cobra.Command) []string {
	seen := map[string]bool{}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		eachSettable(cmd, func(f *pflag.Flag) { seen[f.Name] = true })
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { seen[f.Name] = true })
	visit(root)
	delete(seen, configFlag)
	return sorted(seen)
}

// readConfig finds the settings file. Only one that was asked for must exist.
func readConfig(cmd *cobra.Command, env Env) (path string, content []byte, err error) {
	if path, _ = cmd.Flags().GetString(configFlag); path != "" {
		content, err = os.ReadFile(env.path(path))
		if err != nil {
			return "", nil, &usageError{fmt.Errorf("reading settings: %w", err)}
		}
		return path, content, nil
	}
	places := []string{"orderlog.yaml"}
	if env.ConfigDir != "" {
		places = append(places, filepath.Join(env.ConfigDir, "orderlog", "config.yaml"))
	}
	for _, path := range places {
		content, err := os.ReadFile(env.path(path))
		switch {
		case err == nil:
			return path, content, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", nil, &usageError{fmt.Errorf("reading settings: %w", err)}
		}
	}
	return "", nil, nil
}

// parseConfig reads one flat YAML mapping; a list stands for values with commas.
func parseConfig(root *cobra.Command, path string, content []byte) (map[string]string, error) {
	var raw map[string]yaml.Node
	if err := yaml.Unmarshal(content, &raw); err != nil {
		return nil, &usageError{fmt.Errorf("settings file %s: %w", path, err)}
	}
	known := settingNames(root)
	values := make(map[string]string, len(raw))
	for _, name := range sorted(raw) {
		node := raw[name]
		if !slices.Contains(known, name) {
			return nil, prefixed(fmt.Sprintf("%s:%d", path, max(1, node.Line)), unknown("setting", name, known))
		}
		value, err := flat(&node)
		if err != nil {
			return nil, &usageError{fmt.Errorf("%s:%d: %s: %w", path, node.Line, name, err)}
		}
		values[name] = value
	}
	return values, nil
}

func flat(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value, nil
	case yaml.SequenceNode:
		var parts []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("a list of plain values is wanted")
			}
			parts = append(parts, item.Value)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("a plain value or a list is wanted")
}

// prefixed says where err comes from and keeps its hint and its exit code.
func prefixed(where string, err error) error {
	var h *hintedError
	if errors.As(err, &h) {
		return hinted(&usageError{fmt.Errorf("%s: %w", where, h.error)}, "%s", h.hint)
	}
	return &usageError{fmt.Errorf("%s: %w", where, err)}
}
