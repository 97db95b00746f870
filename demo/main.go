// Demo shows keepkey's main job on a machine that has nothing but Go: it starts
// an ACME server (Pebble) in this process, on loopback, writes a configuration
// into a new directory, and runs keepkey's real commands on it: a first
// certificate, a renewal, the proof that the certificate changed while the pin
// stayed, and a rollover: the backup key takes over, the old pin leaves, and the next
// rollover finds the gate closed until no client can be locked out by it. The
// directory is left to be explored.
package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"keepkey/cli"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

const configTemplate = `state: %s
acme:
  directory: %s
  ca_bundle: ca.pem         # trust for this private CA's directory
  accept_terms: true
certificates:
  - name: api.example.com
    domains: [api.example.com]
    challenge: {http-01: {listen: "%s"}}
    channels:
      - name: over-the-air
        format: json
        lifetime: 30d
        publish:
          - {file: published-pins.json}
    deploy:
      - {command: [sh, -c, 'echo "$KEEPKEY_NAME: a server would reload now" >> deploy.log']}
`

// demo is one showing: a directory, and where it is told.
type demo struct {
	dir    string
	out    io.Writer
	ca     *acmetest.Server
	offset time.Duration // of keepkey's clock
}

// pass lets it be that much later than it is.
func (d *demo) pass(since time.Duration) {
	d.offset = since
	d.ca.SetClock(since)
}

func run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "keepkey-demo-")
	if err != nil {
		return err
	}
	ca, err := acmetest.Start(acmetest.Options{})
	if err != nil {
		return err
	}
	defer ca.Close()
	d := &demo{dir: dir, out: out, ca: ca}

	d.say("An ACME server runs in this process, on %s. The configuration is in %s.", ca.Directory, dir)
	config := fmt.Sprintf(configTemplate, filepath.Join(dir, "state"), ca.Directory, ca.HTTPAddr)
	config = strings.ReplaceAll(config, ">> deploy.log", ">> "+filepath.Join(dir, "deploy.log"))
	if err := errors.Join(d.write("ca.pem", ca.CAPEM), d.write("config.yaml", []byte(config))); err != nil {
		return err
	}

	d.say("What would happen?")
	if err := d.keepkey(ctx, "plan"); err != nil {
		return err
	}
	d.say("The first run makes an active and a backup key, publishes both pins, and gets a certificate.")
	if err := d.keepkey(ctx, "renew", "--domain", "api.example.com"); err != nil {
		return err
	}
	first, err := d.served()
	if err != nil {
		return err
	}
	if err := errors.Join(d.keepkey(ctx, "status"), d.show("published-pins.json")); err != nil {
		return err
	}

	d.say("A run from cron or a timer finds nothing to do, and so prints nothing:")
	if err := d.keepkey(ctx, "renew"); err != nil {
		return err
	}
	d.say("A renewal, forced here since nobody wants to wait 60 days:")
	if err := d.keepkey(ctx, "renew", "--domain", "api.example.com", "--force"); err != nil {
		return err
	}
	second, err := d.served()
	if err != nil {
		return err
	}

	d.say("Before and after:")
	for _, cert := range []*x509.Certificate{first, second} {
		fmt.Fprintf(out, "  serial %x  pin %s\n", cert.SerialNumber, pinset.OfCertificate(cert))
	}
	if first.SerialNumber.Cmp(second.SerialNumber) == 0 || pinset.OfCertificate(first) != pinset.OfCertificate(second) {
		return errors.New("the certificate should have changed and the pin should have stayed")
	}
	d.say("The certificate changed, the pin stayed.")
	if err := d.rollover(ctx); err != nil {
		return err
	}
	d.say("Look around in %s, or check the live pin yourself:", dir)
	fmt.Fprintf(out, "  openssl x509 -in %s -noout -pubkey |\n    openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | openssl base64\n",
		filepath.Join(dir, "state/lineages/api.example.com/live/cert.pem"))
	return nil
}

const day = 24 * time.Hour

// rollover lets the backup key take over, lets time pass, and finds out why the next
// one has to wait.
func (d *demo) rollover(ctx context.Context) error {
	before, err := d.served()
	if err != nil {
		return err
	}
	d.say("The backup's pin has been out since the first day, so it can take over at any time. The next backup is made and published first:")
	if err := d.keepkey(ctx, "rotate", "--name", "api.example.com"); err != nil {
		return err
	}
	after, err := d.served()
	if err != nil {
		return err
	}
	if pinset.OfCertificate(before) == pinset.OfCertificate(after) {
		return errors.New("the key should have changed")
	}
	fmt.Fprintf(d.out, "\n  the live pin was %s\n  and is now       %s\n", pinset.OfCertificate(before), pinset.OfCertificate(after))

	d.pass(8 * day)
	d.say("Eight days later the rollover can't be undone any more, and the old pin leaves the pin set:")
	if err := errors.Join(d.keepkey(ctx, "renew"), d.keepkey(ctx, "pins")); err != nil {
		return err
	}
	d.say("The next rollover has to wait: some clients may still hold the very first pin set, which lacks the new backup.")
	if err := d.keepkeyEnds(ctx, 3, "rotate", "--name", "api.example.com"); err != nil {
		return err
	}
	if err := d.keepkey(ctx, "rotate", "--name", "api.example.com", "--when-open"); err != nil {
		return err
	}
	if err := d.keepkey(ctx, "plan"); err != nil {
		return err
	}
	d.pass(31 * day)
	d.say("Thirty-one days after the first rollover no client can be locked out, and the run from the timer switches:")
	return d.keepkey(ctx, "renew")
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, "\n# "+format+"\n", args...) }

func (d *demo) write(name string, data []byte) error {
	return os.WriteFile(filepath.Join(d.dir, name), data, 0o600)
}

func (d *demo) show(name string) error {
	data, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(d.out, "\n$ cat %s\n%s", filepath.Join(d.dir, name), data)
	return err
}

// keepkey runs a command as a user would, in this process.
func (d *demo) keepkey(ctx context.Context, args ...string) error {
	return d.keepkeyEnds(ctx, 0, args...)
}

// keepkeyEnds runs a command that must end with an exit status.
func (d *demo) keepkeyEnds(ctx context.Context, want int, args ...string) error {
	fmt.Fprintf(d.out, "\n$ keepkey --config %s %s\n", filepath.Join(d.dir, "config.yaml"), strings.Join(args, " "))
	status := cli.Run(ctx, cli.Env{
		Args:   append([]string{"keepkey", "--config", filepath.Join(d.dir, "config.yaml"), "--log-level", "warn"}, args...),
		Stdout: d.out,
		Stderr: d.out,
		Getenv: func(string) string { return "" },
		Now:    func() time.Time { return time.Now().Add(d.offset) },
	})
	if status != want {
		return fmt.Errorf("keepkey %s ended with status %d", args[0], status)
	}
	return nil
}

// served reads the certificate that a server would read.
func (d *demo) served() (*x509.Certificate, error) {
	data, err := os.ReadFile(filepath.Join(d.dir, "state/lineages/api.example.com/live/cert.pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("cert.pem holds no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}
