package schemas

import "errors"

// What can be wrong with a record, told apart with errors.Is. Only ErrRegistry
// says nothing about the record: its caller waits and tries again. The others
// stay as they are, however often the record is tried.
var (
	ErrNotWire       = errors.New("not in the schema registry's wire format")
	ErrUnknownSchema = errors.New("schema id unknown to the registry")
	ErrIncompatible  = errors.New("schema cannot be read as one of ours")
	ErrNotAllowed    = errors.New("record does not belong here")
	ErrBody          = errors.New("malformed body")
	ErrRegistry      = errors.New("schema registry is away")
)
