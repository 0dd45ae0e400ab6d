package decode

// lengthModel predicts the length of a match.
type lengthModel struct {
	choice, choice2 uint16
	low, mid        [posStates][8]uint16
	high            [256]uint16
}

// models are the adaptive probabilities of LZMA.
type models struct {
	isMatch    [lzmaStates][posStates]uint16
	isRep      [lzmaStates]uint16
	isRep0     [lzmaStates]uint16
	isRep1     [lzmaStates]uint16
	isRep2     [lzmaStates]uint16
	isRep0Long [lzmaStates][posStates]uint16
	slot       [4][64]uint16
	special    [specialProbs]uint16
	align      [1 << alignBits]uint16
	matchLen   lengthModel
	repLen     lengthModel
	literal    [maxLiteral]uint16
}

// resetState makes all models indifferent, as a chunk may demand.
func (d *lzma) resetState() {
	fill := func(p []uint16) {
		for i := range p {
			p[i] = probInit
		}
	}
	m := &d.models
	for i := range lzmaStates {
		fill(m.isMatch[i][:])
		fill(m.isRep0Long[i][:])
	}
	for _, p := range [][]uint16{m.isRep[:], m.isRep0[:], m.isRep1[:], m.isRep2[:], m.special[:], m.align[:], m.literal[:]} {
		fill(p)
	}
	for i := range m.slot {
		fill(m.slot[i][:])
	}
	for _, l := range []*lengthModel{&m.matchLen, &m.repLen} {
		l.choice, l.choice2 = probInit, probInit
		for i := range posStates {
			fill(l.low[i][:])
			fill(l.mid[i][:])
		}
		fill(l.high[:])
	}
	d.state, d.reps = 0, [4]uint32{}
}
