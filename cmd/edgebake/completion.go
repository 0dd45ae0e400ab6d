package main

import (
	"github.com/spf13/cobra"
)

func newCompletion(env *environment) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "print a completion script for a shell",
		Long: long("completion prints a script that completes edgebake's commands, flags and profiles.",
			"edgebake completion bash > ~/.local/share/bash-completion/completions/edgebake"),
		Args:      exactly(1, "the name of a shell: bash, zsh, fish or powershell"),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE:      func(cmd *cobra.Command, args []string) error { return runCompletion(env, cmd.Root(), args[0]) },
	}
}

func runCompletion(env *environment, root *cobra.Command, shell string) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(env.stdout, true)
	case "zsh":
		return root.GenZshCompletion(env.stdout)
	case "fish":
		return root.GenFishCompletion(env.stdout, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(env.stdout)
	}
	return usagef("%q is none of the shells bash, zsh, fish and powershell", shell)
}
