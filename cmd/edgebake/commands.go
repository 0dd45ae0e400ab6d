package main

import "github.com/spf13/cobra"

// commands lists all commands in the order of a newcomer's way.
func commands(env *environment) []*cobra.Command {
	return []*cobra.Command{
		newProfiles(env),
		newValidate(env),
		newShow(env),
		newLock(env),
		newFetch(env),
		newVendor(env),
		newBake(env),
		newBoot(env),
		newSeed(env),
		newLint(env),
		newInspect(env),
		newDiff(env),
		newDoctor(env),
		newDev(env),
		newGC(env),
		newVersion(env),
		newCompletion(env),
	}
}
