// Package retry is the calendar, free of Kafka and of clocks: the keys by which
// what is due later sorts by time, and how long a record that failed waits for its
// next attempt.
package retry

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"time"
)

const (
	digits  = 13
	lastDue = 9_999_999_999_999 // year 2286
)

// Key is the record key of what is due then (Unix ms): thirteen digits, a dot and
// an id that tells entries of one time apart. Keys sort by time, and then by id.
// Times that thirteen digits cannot say are clamped.
func Key(due int64, id string) string {
	due = min(max(due, 0), lastDue)
	var head [digits + 1]byte
	for i := digits - 1; i >= 0; i-- {
		head[i] = byte('0' + due%10)
		due /= 10
	}
	head[digits] = '.'
	return string(head[:]) + id
}

// ParseKey reads what Key made. It is not ok for any other text.
func ParseKey(key string) (due int64, id string, ok bool) {
	if len(key) <= digits || key[digits] != '.' {
		return 0, "", false
	}
	for i := range digits {
		if key[i] < '0' || key[i] > '9' {
			return 0, "", false
		}
	}
	due, err := strconv.ParseInt(key[:digits], 10, 64)
	return due, key[digits+1:], err == nil
}

// Pauses is how the keys begin that PauseKey makes. They sort behind all that Key
// makes.
const Pauses = "pause."

// PauseKey is the record key of the command, and of the row, by which all entries
// of a group and a cause wait until further notice; "" stands for every one.
func PauseKey(group, cause string) string { return Pauses + group + "." + cause }

// Schedule is how long a record waits after its first failed attempt, after its
// second, and so on. The zero value is Default.
type Schedule []time.Duration

// Default gives up after 65 hours.
func Default() Schedule {
	return Schedule{5 * time.Minute, 25 * time.Minute, 125 * time.Minute, 625 * time.Minute, 3125 * time.Minute}
}

// Bounds of a Schedule.
const (
	MaxAttempts = 20
	MaxWait     = 30 * 24 * time.Hour
)

// Validate says what is wrong with s.
func (s Schedule) Validate() error {
	if len(s) > MaxAttempts {
		return fmt.Errorf("retry schedule of %d waits: at most %d", len(s), MaxAttempts)
	}
	for i, d := range s {
		if d < time.Millisecond || d > MaxWait {
			return fmt.Errorf("retry schedule: wait %d is %v, not %v to %v", i+1, d, time.Millisecond, MaxWait)
		}
	}
	return nil
}

// Next is how long to wait after so many failed attempts; it is not ok when there
// shall be no further one. Waits are up to a tenth longer than the schedule says,
// so that what has failed together does not come back together: how much, depends
// on the seed alone.
func (s Schedule) Next(attempts int, seed string) (wait time.Duration, ok bool) {
	if len(s) == 0 {
		s = Default()
	}
	if attempts < 1 || attempts > len(s) {
		return 0, false
	}
	sum := sha256.Sum256(strconv.AppendInt([]byte(seed+"/"), int64(attempts), 10))
	wait = s[attempts-1]
	late, _ := bits.Mul64(uint64(wait/10), binary.BigEndian.Uint64(sum[:]))
	return wait + time.Duration(late), true
}
