package cli

import (
	"io"
	"slices"
	"strings"
)

// Check says what is wrong with a command line and the ORDERLOG_ variables that
// come with it, and obeys nothing: for those who write them into files.
func Check(args []string, vars map[string]string) error {
	s := &session{env: Env{Stdout: io.Discard, Stderr: io.Discard, Getenv: func(name string) string { return vars[name] }}}
	root := newRoot(s)
	known := []string{envName(configFlag), passwordVariable(passwordFileFlag), passwordVariable(registryPasswordFileFlag)}
	for _, name := range settingNames(root) {
		known = append(known, envName(name))
	}
	for _, name := range sorted(vars) {
		if strings.HasPrefix(name, "ORDERLOG_") && !slices.Contains(known, name) {
			return unknown("variable", name, known)
		}
	}
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if cmd == root || cmd.HasSubCommands() {
		return unknownCommand(cmd, strings.Join(args, " "))
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return flagError(cmd, err)
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return err
	}
	return s.start(cmd)
}
