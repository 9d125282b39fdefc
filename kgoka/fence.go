package kgoka

import (
	"fmt"
	"strings"
)

// txnID is the transactional ID of one of an instance's two producers. Neither a
// group nor an instance has a slash in its name, so that it says whose it is.
func txnID(group, instance string, turn int) string {
	return fmt.Sprintf("%s/%s/%d", group, instance, turn)
}

// instanceOf returns the instance of the group that a transactional ID is of.
func instanceOf(group, id string) (instance string, ok bool) {
	if id, ok = strings.CutPrefix(id, group+"/"); !ok {
		return "", false
	}
	instance, _, ok = strings.Cut(id, "/")
	return instance, ok
}
