// Package why says how an order came to be what it is: its versions, and the records
// that caused one another, from commands to effects. It reads the logs and nothing
// else, so it tells what they no longer have.
package why
