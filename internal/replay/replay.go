// Package replay moves groups to where they shall go on, and what hangs on that with
// them: a plan that changes nothing, a run that is one Kafka transaction, and the way
// back.
//
// A group's unit is its offsets, on all of its inputs, and its table's topic. Local
// tables follow the topic by themselves.
package replay
