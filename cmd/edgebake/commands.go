package main

import "github.com/spf13/cobra"

// commands lists all commands in the order of a newcomer's way.
func commands(env *environment) []*cobra.Command {
	return []*cobra.Command{
		newDoctor(env),
		newGC(env),
		newVersion(env),
		newCompletion(env),
	}
}
