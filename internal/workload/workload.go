// Package workload makes up the messages of a shop from a seed: the prices,
// stock and limits it starts with, then an endless variety of orders, with
// whatever faults are asked for. The same configuration gives the same bytes.
package workload
