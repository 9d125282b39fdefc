package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newRoot is the command tree.
func newRoot(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:   "orderlog",
		Args:  cobra.ArbitraryArgs,
		Short: "Orders on a Kafka log, exactly once",
		Long: `Takes orders, writes every change of an order to a partitioned, compacted Kafka
log, and lets processors reserve stock, charge credit, issue invoices and grant
vouchers, exactly once.`,
		Example: `  # Where is everything, and is it as it should be?
  orderlog doctor --brokers kafka1:9092 --registry http://registry:8081`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	version := root.Flags().Bool("version", false, "print what this binary was made from")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *version {
			return newVersion(s).RunE(cmd, nil)
		}
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownCommand(cmd, args[0])
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(newHelp(s))
	root.SetIn(s.env.Stdin)
	root.SetOut(s.env.Stdout)
	root.SetErr(s.env.Stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(helpTemplate)
	s.set.flags(root.PersistentFlags())
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return s.start(cmd) }

	group := func(title string, cmds ...*cobra.Command) {
		root.AddGroup(&cobra.Group{ID: title, Title: title + ":"})
		for _, c := range cmds {
			c.GroupID = title
			root.AddCommand(c)
		}
	}
	group("Run", newDemo(s), newUp(s), newRun(s), newBroker(s), newBench(s))
	group("Orders", newOrder(s), newProduce(s))
	group("Look and check", newTop(s), newVerify(s), newWhy(s), newTail(s), newLag(s), newDoctor(s), newHealth(s), newTopics(s))
	group("What failed", newRetries(s), newDLQ(s), newEffects(s), newAudit(s))
	group("Move and mend", newReplay(s), newSnapshot(s))
	group("Other", newVersion(s), newCompletion(s), newDocs(s))
	return root
}

// usageTemplate differs from cobra's in its order: the example comes last, where
// it is still on the screen.
const usageTemplate = `Usage:
{{- if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND [flags]
{{- else}}
  {{.UseLine}}
{{- end}}
{{- if .HasAvailableSubCommands}}{{$cmds := .Commands}}
{{- range $group := .Groups}}

{{$group.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) .IsAvailableCommand)}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}
{{- if not .Groups}}

Commands:{{range $cmds}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableInheritedFlags}}

Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasExample}}

Example:
{{.Example}}{{end}}
`

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`

// newHelp is --help for those who type it first.
func newHelp(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND...]", Short: "Show the help of a command", Hidden: true,
		Example:           example("orderlog help order place"),
		PersistentPreRunE: func(*cobra.Command, []string) error { s.started = true; return nil },
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err == nil && len(rest) > 0 {
				err = unknownCommand(about, rest[0])
			}
			if err != nil {
				return err
			}
			return about.Help()
		},
	}
}

// exactly wants one argument per name.
func exactly(names ...string) cobra.PositionalArgs {
	return between(len(names), names...)
}

// between wants at least the first few of the arguments named.
func between(atLeast int, names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < atLeast:
			return hinted(usagef("%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):atLeast], " and ")),
				"%s --help shows an example", cmd.CommandPath())
		case len(args) > len(names):
			err := usagef("unexpected argument %q", args[len(names)])
			if _, notTime := time.ParseDuration(args[len(names)]); notTime == nil && cmd.Flags().Lookup("wait") != nil {
				return hinted(err, "did you mean --wait=%s?", args[len(names)])
			}
			return hinted(err, "usage: %s", cmd.UseLine())
		}
		return nil
	}
}

func nothing() cobra.PositionalArgs { return between(0) }

// example is the last part of a command's help: lines of shell, a comment above
// each where it needs one.
func example(lines ...string) string {
	return strings.ReplaceAll("  "+strings.Join(lines, "\n  "), "\n  \n", "\n\n")
}
