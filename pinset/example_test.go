package pinset_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"time"

	"keepkey/pinset"
)

// The pin of a key is what this prints for the certificate that is served:
//
//	openssl x509 -in fullchain.pem -pubkey -noout | openssl pkey -pubin -outform DER |
//	  openssl dgst -sha256 -binary | openssl base64
func ExampleOf() {
	block, _ := pem.Decode([]byte(`-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEKtDdfwMuiEzwBL0xwGLHCNay+5NB
dF6oJWujf3pcdxkIhAwAFE7lFoe2E3lT9sKwWVAefdwzFewKPLIIBay/3A==
-----END PUBLIC KEY-----`))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		log.Fatal(err)
	}
	pin, err := pinset.Of(key)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pin)
	// Output: 4Nj2CdPsp49lnqPHrLUy3ZZVo965C2Lx53EFnBJUSY0=
}

// A pin set with the keys A and B is replaced by one with B and C. B may be served all
// along; C may be served when no client can hold the first pin set any more.
func ExampleLedger_Gate() {
	a, b, c := pinset.Pin{'A'}, pinset.Pin{'B'}, pinset.Pin{'C'}
	march := func(day int) time.Time { return time.Date(2027, 3, day, 12, 0, 0, 0, time.UTC) }
	week := &pinset.Lifetime{Duration: 7 * 24 * time.Hour}

	var ledger pinset.Ledger
	for _, e := range []pinset.Entry{
		{At: march(1), Kind: pinset.Intent, Channel: "app", Version: 1, Pins: []pinset.Pin{a, b}, Lifetime: week},
		{At: march(1), Kind: pinset.Confirm, Channel: "app", Version: 1, By: pinset.ByKeepkey},
		{At: march(10), Kind: pinset.Intent, Channel: "app", Version: 2, Pins: []pinset.Pin{b, c}, Lifetime: week},
		{At: march(10), Kind: pinset.Confirm, Channel: "app", Version: 2, By: pinset.ByKeepkey},
	} {
		next, _, err := ledger.Append(e) // the line belongs at the end of the ledger's file
		if err != nil {
			log.Fatal(err)
		}
		ledger = next
	}

	configured := map[string]pinset.Clients{"app": {Lifetime: *week}}
	fmt.Println("B on March 12:", ledger.Gate(b, configured, march(12)).Open)
	verdict := ledger.Gate(c, configured, march(12))
	fmt.Println("C on March 12:", verdict.Open)
	for _, o := range verdict.Obstacles {
		fmt.Printf("  version %d on %s lacks it, and may be enforced until %s\n", o.Version, o.Channel, o.Until.Format(time.DateOnly))
	}
	fmt.Println("C on March 18:", ledger.Gate(c, configured, march(18)).Open)
	// Output:
	// B on March 12: true
	// C on March 12: false
	//   version 1 on app lacks it, and may be enforced until 2027-03-17
	// C on March 18: true
}
