package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"keepkey/config"
	"keepkey/keystore"
)

const defaultConfig = "/etc/keepkey/config.yaml"

// globals are the options that every command takes, before or after its name.
type globals struct {
	env       Env
	config    text
	logLevel  text
	logFormat text

	doc    *config.Document // once it was read, until it is parsed
	log    *slog.Logger     // of a command that writes
	chosen []string         // the certificates that it is for
	named  bool             // somebody named them
	input  []byte           // what the command has read, for a daemon that it is handed to
}

// text is a flag value that the app and its commands share: whichever is given
// last counts. (The library gives each level a variable of its own, and then
// forgets the one before the command.)
type text string

func (t *text) Set(s string) error { *t = text(s); return nil }
func (t *text) String() string     { return string(*t) }

func (g *globals) flags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "config", Value: &g.config, Usage: "read the configuration from `FILE` (default: $KEEPKEY_CONFIG, else " + defaultConfig + ")"},
		&cli.GenericFlag{Name: "log-level", Value: &g.logLevel, Usage: "log from this `LEVEL` on: debug, info, warn or error (default: info; warn on a terminal)"},
		&cli.GenericFlag{Name: "log-format", Value: &g.logFormat, Usage: "write logs to standard error in this `FORMAT`: text or json (default: text)"},
	}
}

// configPath returns where the configuration is.
func (g *globals) configPath() string {
	return cmp.Or(g.config.String(), g.env.Getenv("KEEPKEY_CONFIG"), defaultConfig)
}

// document reads the configuration file, and nothing that it names.
func (g *globals) document() (*config.Document, error) {
	if g.doc == nil {
		defer g.spareMemory()()
		doc, err := config.Read(g.configPath())
		if err != nil {
			return nil, usageError{err}
		}
		g.doc = doc
	}
	return g.doc, nil
}

// load reads the configuration, as the user to whom the state directory belongs.
func (g *globals) load() (*config.Config, error) {
	if g.env.daemon != nil {
		return g.env.daemon.read.Load(), nil // just now, for this command
	}
	defer g.spareMemory()()
	doc, err := g.document()
	if err != nil {
		return nil, err
	}
	if err := g.becomeOwner(doc); err != nil {
		return nil, err
	}
	g.doc = nil // it is read once
	cfg, err := doc.Parse(g.env.DNS.Check)
	if err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
}

// spareMemory trades some time for memory, until it is undone: reading thousands of
// certificates takes many times what they hold, and is over soon.
func (g *globals) spareMemory() (undo func()) {
	if info, err := os.Stat(g.configPath()); err != nil || info.Size() <= 256<<10 {
		return func() {}
	}
	before := debug.SetGCPercent(20)
	return func() { debug.SetGCPercent(before) }
}

// logger returns the logger that the flags ask for, writing around the progress line.
func (g *globals) logger(p *progress) (*slog.Logger, error) {
	level := slog.LevelInfo
	if g.env.Terminal {
		level = slog.LevelWarn
	}
	if s := g.logLevel.String(); s != "" {
		if !slices.Contains([]string{"debug", "info", "warn", "error"}, s) {
			return nil, usagef("--log-level %q: want debug, info, warn or error", s)
		}
		if err := level.UnmarshalText([]byte(s)); err != nil {
			return nil, usageError{err}
		}
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: cut}
	switch g.logFormat {
	case "", "text":
		return slog.New(slog.NewTextHandler(p, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(jsonWriter{p}, opts)), nil
	}
	return nil, usagef("--log-format %q: want text or json", g.logFormat.String())
}

// selection is which certificates a command is about.
type selection struct {
	names   cli.StringSlice
	domains cli.StringSlice

	// In place of these where a command is for one certificate.
	name, domain once
}

// flags are those of commands that take any number of certificates, and of others.
func (s *selection) flags(others ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.StringSliceFlag{Name: "name", Destination: &s.names, Usage: "only the certificate with this `NAME` (can be repeated)"},
		&cli.StringSliceFlag{Name: "domain", Destination: &s.domains, Usage: "only the certificates for this `DOMAIN` (can be repeated)"},
	}, others...)
}

// oneNameFlag is for what need not be configured.
func (s *selection) oneNameFlag() cli.Flag {
	return &cli.GenericFlag{Name: "name", Value: &s.name, Usage: "the `NAME` of the certificate"}
}

// oneFlags are those of commands that take exactly one certificate; see [selection.one].
func (s *selection) oneFlags(others ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		s.oneNameFlag(),
		&cli.GenericFlag{Name: "domain", Value: &s.domain, Usage: "in place of --name: a `DOMAIN` of the certificate"},
	}, others...)
}

// once is a flag value that may be given once. (The library would quietly take the last.)
type once string

func (o *once) Set(s string) error {
	if *o != "" {
		return errors.New("it is given twice, and this command takes one")
	}
	*o = once(s)
	return nil
}
func (o *once) String() string { return string(*o) }

// positive is a flag value that counts from 1; 0 is none.
type positive int

func (p *positive) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return errors.New("want a whole number from 1")
	}
	*p = positive(n)
	return nil
}

func (p *positive) String() string {
	if *p == 0 {
		return "" // so that no default is shown in the help
	}
	return strconv.Itoa(int(*p))
}

// choose returns the selected certificates in the configuration's order, all of
// them when nothing was selected.
func (s *selection) choose(cfg *config.Config) ([]config.Certificate, error) {
	names, domains := s.names.Value(), s.domains.Value()
	if s.name != "" {
		names = append(names, s.name.String())
	}
	if s.domain != "" {
		domains = append(domains, s.domain.String())
	}
	if s.all() {
		return cfg.Certificates, nil
	}
	matched := make(map[string]bool)
	var chosen []config.Certificate
	for _, cert := range cfg.Certificates {
		take := slices.Contains(names, cert.Name)
		matched["--name "+cert.Name] = true
		for _, d := range domains {
			if slices.Contains(cert.Domains, canonical(d)) {
				matched["--domain "+d] = true
				take = true
			}
		}
		if take {
			chosen = append(chosen, cert)
		}
	}
	for _, n := range names {
		if !matched["--name "+n] {
			return nil, usagef("%s has no certificate named %q; it has %s", cfg.File, n, known(cfg.Certificates))
		}
	}
	for _, d := range domains {
		if !matched["--domain "+d] {
			return nil, usagef("%s has no certificate for %q; it has those named %s", cfg.File, d, known(cfg.Certificates))
		}
	}
	if (s.name != "" || s.domain != "") && len(chosen) > 1 {
		return nil, usagef("this is for one certificate, and more than one is meant: choose by --name among %s", known(chosen))
	}
	return chosen, nil
}

// all reports whether nothing was selected, which means all certificates.
func (s *selection) all() bool {
	return len(s.names.Value())+len(s.domains.Value()) == 0 && !s.given()
}

// given reports whether the one certificate is named, where a command is for one.
func (s *selection) given() bool { return s.name != "" || s.domain != "" }

// one insists on a single certificate.
func (s *selection) one(command string) error {
	if !s.given() {
		return usagef("%s is for one certificate: name it with --name or --domain", command)
	}
	return nil
}

// selected reads the configuration and returns the selected certificates with it.
func (g *globals) selected(s *selection) (*config.Config, []config.Certificate, error) {
	cfg, err := g.load()
	if err != nil {
		return nil, nil, err
	}
	certs, err := s.choose(cfg)
	g.named = !s.all()
	for _, cert := range certs {
		g.chosen = append(g.chosen, cert.Name)
	}
	return cfg, certs, err
}

// toChange is [globals.selected] for a command that changes something. A daemon of the state
// directory runs it, if there is one, and then the error is how it ended.
func (g *globals) toChange(ctx context.Context, s *selection) (*config.Config, []config.Certificate, error) {
	if err := g.handOver(ctx); err != nil {
		return nil, nil, err
	}
	return g.selected(s)
}

// onRecord is [globals.toChange] for one certificate. One that is not configured has nothing
// but its name, if its lineage is in the state directory.
func (g *globals) onRecord(ctx context.Context, s *selection) (*config.Config, config.Certificate, error) {
	if err := g.handOver(ctx); err != nil {
		return nil, config.Certificate{}, err
	}
	cfg, err := g.load()
	if err != nil {
		return nil, config.Certificate{}, err
	}
	g.named = true
	certs, err := s.choose(cfg)
	if err == nil {
		g.chosen = []string{certs[0].Name}
		return cfg, certs[0], nil
	}
	store, openErr := keystore.Open(cfg.State, cfg.Group)
	if openErr != nil {
		return nil, config.Certificate{}, openErr
	}
	names, openErr := store.Names()
	if openErr != nil || !slices.Contains(names, s.name.String()) {
		return nil, config.Certificate{}, errors.Join(err, openErr)
	}
	return cfg, config.Certificate{Name: s.name.String()}, nil
}

func known(certs []config.Certificate) string {
	const shown = 10
	var names []string
	for _, cert := range certs {
		names = append(names, cert.Name)
	}
	if more := len(names) - shown; more > 0 {
		names = append(names[:shown], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// canonical writes a domain as the configuration holds it. What is not a domain is
// left alone, and not found.
func canonical(domain string) string {
	if parsed, err := config.ParseDomain(domain); err == nil {
		return parsed
	}
	return domain
}
