package letter

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderlog/orderlog/schemas"
)

// Parked is the letter as an entry of the calendar, to be dispatched to that
// catalogue topic. The stack is not kept there.
func (l Letter) Parked(to string) *schemas.Parked {
	p := &schemas.Parked{To: to, Group: l.Group, Due: l.Due, Seq: l.Seq, Cancel: l.Cancel, Class: l.Class, Cause: l.Cause, Error: l.Error,
		Topic: l.Topic, Partition: int64(l.Partition), Offset: l.Offset, Timestamp: l.Timestamp,
		Origin: l.Origin, Attempts: l.Attempts, Key: l.Key, Value: l.Value}
	p.Headers = make([]schemas.Header, len(l.Own))
	for i, h := range l.Own {
		p.Headers[i] = schemas.Header{Key: h.Key, Value: h.Value}
	}
	return p
}

// Unpark reads back what Parked made.
func Unpark(p *schemas.Parked) Letter {
	l := Letter{Group: p.Group, Due: p.Due, Seq: p.Seq, Cancel: p.Cancel, Class: p.Class, Cause: p.Cause, Error: p.Error,
		Topic: p.Topic, Partition: int32(p.Partition), Offset: p.Offset, Timestamp: p.Timestamp,
		Origin: p.Origin, Attempts: p.Attempts, Key: p.Key, Value: p.Value}
	for _, h := range p.Headers {
		l.Own = append(l.Own, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return l
}

// Dispatch is the record that an entry of the calendar becomes on the topic p.To,
// complete. One that a person has cancelled is dispatched all the same: its group
// knows what waits behind it, or for what its row waits.
func Dispatch(p *schemas.Parked) (key, value []byte, headers []kgo.RecordHeader) {
	l := Unpark(p)
	if l.Topic == "" { // a deadline: nothing has gone wrong
		l.Group, l.Cause = "", ""
	}
	return l.Key, l.Value, l.Headers()
}
