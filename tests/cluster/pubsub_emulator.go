// Google's own fake of Pub/Sub, for test_pubsub.py. It says its address, and serves until it is killed.
package main

import (
	"fmt"

	"cloud.google.com/go/pubsub/v2/pstest"
)

func main() {
	fmt.Println(pstest.NewServer().Addr)
	select {}
}
