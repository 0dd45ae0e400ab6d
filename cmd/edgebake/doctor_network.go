package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/edgebake/edgebake/builder/fetch"
	"github.com/edgebake/edgebake/builder/profile"
	"github.com/edgebake/edgebake/profiles"
)

// maxClockSkew is how far the clock may be off before Valid-Until and certificates go wrong.
const maxClockSkew = 5 * time.Minute

// checkNetwork asks the archives that the built-in profiles name, at the addresses where a bake
// would look, and compares their clocks with ours.
func checkNetwork(ctx context.Context, env *environment) []finding {
	if env.settings.offline {
		return []finding{{Topic: "archives", State: stateOK, Text: "not asked (offline)"}}
	}
	client, err := env.newClient(nil, 0)
	if err != nil {
		return []finding{{"archives", stateWarning, err.Error(), ""}}
	}
	var all []finding
	var clock finding
	for _, url := range releaseURLs(ctx) {
		f, answers := checkArchive(ctx, client, url)
		all = append(all, f)
		for _, a := range answers {
			if clock.Topic == "" && !a.Date.IsZero() {
				clock = judgeClock(time.Now(), a.Date)
			}
		}
	}
	if clock.Topic == "" {
		clock = finding{"clock", stateWarning, "no archive told its time", ""}
	}
	return append(all, clock)
}

// releaseURLs are the first suites of all archives of the built-in profiles, each once.
func releaseURLs(ctx context.Context) []string {
	names, _ := profiles.Names() // they are compiled in
	var urls []string
	seen := map[string]bool{}
	for _, name := range names {
		l, err := profile.Load(ctx, profile.Options{Name: name})
		if err != nil {
			continue // validate tells
		}
		for _, s := range l.Profile.Apt.Sources {
			if !seen[s.URL] && len(s.Suites) > 0 {
				seen[s.URL] = true
				urls = append(urls, strings.TrimRight(s.URL, "/")+"/dists/"+s.Suites[0]+"/InRelease")
			}
		}
	}
	return urls
}

func checkArchive(ctx context.Context, client *fetch.Client, url string) (finding, []fetch.Answer) {
	base, _, _ := strings.Cut(url, "/dists/")
	answers := client.Probe(ctx, url)
	faults := make([]string, 0, len(answers))
	for _, a := range answers {
		if a.Err == nil {
			from, _, _ := strings.Cut(a.URL, "/dists/")
			text := fmt.Sprintf("%s answers in %s", base, a.Took.Round(time.Millisecond))
			if from != base {
				text += ", through " + from
			}
			return finding{Topic: "archive", State: stateOK, Text: text}, answers
		}
		faults = append(faults, fmt.Sprintf("%s: %v", a.URL, a.Err))
	}
	return finding{"archive", stateWarning, base + " is out of reach: " + strings.Join(faults, "; "),
		"check the network, or name a mirror: --mirror " + base + "=URL"}, answers
}

// judgeClock compares our clock with a server's.
func judgeClock(now, theirs time.Time) finding {
	skew := now.Sub(theirs).Round(time.Second)
	if skew.Abs() <= maxClockSkew {
		return finding{Topic: "clock", State: stateOK, Text: "agrees with the archive's"}
	}
	return finding{"clock", stateWarning, fmt.Sprintf("it says %s and the archive says %s", now.UTC().Format(time.RFC3339),
		theirs.UTC().Format(time.RFC3339)), "set the clock: signatures and Valid-Until are checked against it"}
}
