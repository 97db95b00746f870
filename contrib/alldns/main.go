// Alldns is keepkey with all of lego's DNS providers. It is a module of its own, so
// that their dependencies, more than half a gigabyte, stay out of keepkey's.
package main

import (
	"os"

	legodns "github.com/go-acme/lego/v4/providers/dns"

	"keepkey/acme/dns"
	"keepkey/cli"
)

func main() { os.Exit(cli.Main(dns.All(legodns.NewDNSChallengeProviderByName))) }
