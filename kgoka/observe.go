package kgoka

import "time"

// Observer is told what a Processor does. Its functions are called by the loop,
// which waits for them; those that are nil are not called.
type Observer struct {
	Transaction func(Transaction) // one has ended, and the callbacks of the next one have not begun
}

// Transaction is a batch of records, or of visited rows, that has ended.
type Transaction struct {
	Began time.Time     // when its first record was to be handled
	Took  time.Duration // from then until the broker's answer, or the error
	In    int64         // records consumed by it, the skipped ones among them
	Out   int64         // records produced by it; 0: none was needed, and offsets alone were committed
	Err   error         // nil: it is committed. Else it was aborted, or its outcome is not known
}

// tell tells the observer of a transaction that began then, before it is forgotten.
func (s *session) tell(began time.Time, err error) {
	told := s.p.cfg.Observer.Transaction
	if told == nil {
		return
	}
	t := Transaction{Began: began, Took: time.Since(began), Out: s.outputs(), Err: err}
	for _, pt := range s.parts {
		t.In += pt.nIn
	}
	told(t)
}
