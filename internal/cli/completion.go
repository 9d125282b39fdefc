package cli

import (
	"slices"

	"github.com/spf13/cobra"
)

func newCompletion(s *session) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:                   "completion SHELL",
		Short:                 "Print a completion script for bash, zsh, fish or powershell",
		Args:                  exactly("SHELL"),
		ValidArgs:             shells,
		DisableFlagsInUseLine: true,
		Example: example("source <(orderlog completion bash)",
			"orderlog completion fish > ~/.config/fish/completions/orderlog.fish"),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, w := cmd.Root(), s.env.Stdout
			if !slices.Contains(shells, args[0]) {
				return unknown("shell", args[0], shells)
			}
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(w, true)
			case "zsh":
				return root.GenZshCompletion(w)
			case "fish":
				return root.GenFishCompletion(w, true)
			}
			return root.GenPowerShellCompletionWithDesc(w)
		},
	}
}
