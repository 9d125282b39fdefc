package sim

// Origin is where a record comes from: the input that was being handled when it
// was written, and its place among that input's outputs. A record from outside
// is its own origin.
type Origin struct {
	Topic             string
	Partition, Offset int
	Index             int
}

type originPartition struct {
	topic     string
	partition int
}

// vector remembers, per partition of origin, the last origin that changed a row.
// Records of one partition of origin reach a row in order, so what is not newer
// has been applied. Exactly-once rests on this wherever the log itself does not
// give it: a duplicated record, offsets that were set back.
type vector map[originPartition]Origin

func (v vector) applied(o Origin) bool {
	last, ok := v[originPartition{o.Topic, o.Partition}]
	return ok && (o.Offset < last.Offset || o.Offset == last.Offset && o.Index <= last.Index)
}

func (v vector) advance(o Origin) { v[originPartition{o.Topic, o.Partition}] = o }
