package sha256mb

import "github.com/klauspost/cpuid/v2"

// block2 hashes blocks at p into a and as many at q into b.
//
//go:noescape
func block2(a, b *state, p, q *byte, blocks int)

// block16 hashes blocks of sixteen messages into their states, the words a of all of them first.
//
//go:noescape
func block16(states *[8][16]uint32, messages *[16]*byte, blocks int)

// kernels returns those that this processor has, the best one first.
func kernels() (all []kernel) {
	sha := cpuid.CPU.Supports(cpuid.SHA, cpuid.SSSE3)
	if cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW) {
		few := 0
		if sha {
			few = fewLanes
		}
		all = append(all, kernel{lanes: 16, hash: func(busy []*lane, n int) {
			if len(busy) <= few {
				hashPairs(busy, n)
			} else {
				hash16(busy, n)
			}
		}})
	}
	if sha {
		all = append(all, kernel{lanes: 2, hash: hashPairs})
	}
	return all
}

// fewLanes are better hashed in pairs: block16 takes as long for one lane as for sixteen, about the time of five pairs.
const fewLanes = 8

// hashPairs hashes two lanes at a time; the last one of an odd number beside nothing.
func hashPairs(busy []*lane, n int) {
	for ; len(busy) > 1; busy = busy[2:] {
		a, b := busy[0], busy[1]
		block2(&a.state, &b.state, &a.data[0], &b.data[0], n)
	}
	if len(busy) == 1 {
		var nothing state
		a := busy[0]
		block2(&a.state, &nothing, &a.data[0], &a.data[0], n)
	}
}

// hash16 hashes up to sixteen lanes. What it does with the first one's data in the place of a missing lane is thrown away.
func hash16(busy []*lane, n int) {
	var states [8][16]uint32
	var data [16]*byte
	for i := range data {
		data[i] = &busy[0].data[0]
	}
	for i, l := range busy {
		data[i] = &l.data[0]
		for word, v := range l.state {
			states[word][i] = v
		}
	}
	block16(&states, &data, n)
	for i, l := range busy {
		for word := range l.state {
			l.state[word] = states[word][i]
		}
	}
}
