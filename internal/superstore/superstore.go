// Package superstore reads order files of the Superstore shape: one CSV row
// per order line, turned into the commands that place and deliver the orders.
package superstore
