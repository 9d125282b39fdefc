package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/orderlog/orderlog/internal/near"
)

// unknown is the error for a word that is none of the candidates.
func unknown(kind, word string, candidates []string) error {
	err := usagef("unknown %s %q", kind, word)
	if n := near.Word(word, candidates); n != "" {
		return hinted(err, "did you mean %q?", n)
	}
	return hinted(err, "there are: %s", strings.Join(candidates, ", "))
}

func unknownCommand(cmd *cobra.Command, word string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	err := usagef("unknown command %q for %s", word, cmd.CommandPath())
	if n := near.Word(word, names); n != "" {
		return hinted(err, "did you mean `%s %s`?", cmd.CommandPath(), n)
	}
	return hinted(err, "%s --help lists the commands", cmd.CommandPath())
}

// flagError turns pflag's errors into ours and names the flag that was meant.
func flagError(cmd *cobra.Command, err error) error {
	var missing *pflag.NotExistError
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		return hinted(usagef("--%s %q: %w", bad.GetFlag().Name, bad.GetValue(), cause(err)), "%s --help shows how it is used", cmd.CommandPath())
	}
	if !errors.As(err, &missing) {
		return hinted(&usageError{err}, "%s --help shows how it is used", cmd.CommandPath())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	slices.Sort(names)
	if missing.GetSpecifiedShortnames() != "" {
		return hinted(usagef("unknown flag -%s", missing.GetSpecifiedName()), "%s --help lists the flags", cmd.CommandPath())
	}
	name := missing.GetSpecifiedName()
	err = usagef("unknown flag --%s", name)
	if n := near.Word(name, names); n != "" {
		return hinted(err, "did you mean --%s?", n)
	}
	return hinted(err, "%s --help lists the flags", cmd.CommandPath())
}

// choice is a flag that takes one of a few words.
type choice struct {
	value   *string
	allowed []string
}

func newChoice(value *string, otherwise string, allowed ...string) *choice {
	*value = otherwise
	return &choice{value, allowed}
}

func (c *choice) String() string { return *c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		if n := near.Word(s, c.allowed); n != "" {
			return fmt.Errorf("not one of %s (did you mean %q?)", c.Type(), n)
		}
		return fmt.Errorf("not one of %s", c.Type())
	}
	*c.value = s
	return nil
}
