// Package examples holds the order files that ship with orderlog.
package examples
