// Keepkey is an ACME client for servers whose clients pin their public key.
package main

import (
	"os"

	"keepkey/acme/dns"
	"keepkey/cli"
)

func main() { os.Exit(cli.Main(dns.Providers{})) }
