package protocol

import "fmt"

// CustomerClient is a customer's name among a broker's clients. Whoever reads a
// broker's books finds what was dropped on the way to a customer by it.
func CustomerClient(number int, run, cell uint32) string {
	return fmt.Sprintf("bela-c%d-%x-%x", number, run, cell)
}
