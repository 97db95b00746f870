package cli

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"keepkey/config"
)

const defaultConfig = "/etc/keepkey/config.yaml"

// globals are the options that every command takes, before or after its name.
type globals struct {
	env       Env
	config    text
	logLevel  text
	logFormat text
}

// text is a flag value that the app and its commands share: whichever is given
// last counts. (The library gives each level a variable of its own, and then
// forgets the one before the command.)
type text string

func (t *text) Set(s string) error { *t = text(s); return nil }
func (t *text) String() string     { return string(*t) }

func (g *globals) flags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "config", Value: &g.config, Usage: "configuration `FILE` (default: $KEEPKEY_CONFIG, else " + defaultConfig + ")"},
		&cli.GenericFlag{Name: "log-level", Value: &g.logLevel, Usage: "`LEVEL` of logging: debug, info, warn, error (default: info, on a terminal warn)"},
		&cli.GenericFlag{Name: "log-format", Value: &g.logFormat, Usage: "`FORMAT` of logs on standard error: text, json (default: text)"},
	}
}

// load reads the configuration.
func (g *globals) load() (*config.Config, error) {
	path := g.config.String()
	if path == "" {
		path = g.env.Getenv("KEEPKEY_CONFIG")
	}
	if path == "" {
		path = defaultConfig
	}
	cfg, err := config.Load(path, g.env.DNS.Check)
	if err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
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
	opts := &slog.HandlerOptions{Level: level}
	switch g.logFormat {
	case "", "text":
		return slog.New(slog.NewTextHandler(p, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(p, opts)), nil
	}
	return nil, usagef("--log-format %q: want text or json", g.logFormat.String())
}

// selection is which certificates a command is about.
type selection struct {
	names   cli.StringSlice
	domains cli.StringSlice
}

func (s *selection) nameFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "name", Destination: &s.names, Usage: "only the certificate with this `NAME`; can be repeated"}
}

func (s *selection) domainFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "domain", Destination: &s.domains, Usage: "only the certificates for this `DOMAIN`; can be repeated"}
}

// choose returns the selected certificates in the configuration's order, all of
// them when nothing was selected.
func (s *selection) choose(cfg *config.Config) ([]config.Certificate, error) {
	names, domains := s.names.Value(), s.domains.Value()
	if len(names)+len(domains) == 0 {
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
			return nil, usagef("%s has no certificate named %q; it has %s", cfg.File, n, known(cfg))
		}
	}
	for _, d := range domains {
		if !matched["--domain "+d] {
			return nil, usagef("%s has no certificate for %q; add it under certificates, or see keepkey status", cfg.File, d)
		}
	}
	return chosen, nil
}

// one insists on a single name.
func (s *selection) one(command string) error {
	if len(s.names.Value()) != 1 {
		return usagef("%s needs the one certificate that it is for: --name", command)
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
	return cfg, certs, err
}

func known(cfg *config.Config) string {
	const shown = 10
	var names []string
	for _, cert := range cfg.Certificates {
		names = append(names, cert.Name)
	}
	if more := len(names) - shown; more > 0 {
		names = append(names[:shown], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// canonical writes a domain as the configuration holds it. What is no domain is
// left alone, and not found.
func canonical(domain string) string {
	if parsed, err := config.ParseDomain(domain); err == nil {
		return parsed
	}
	return domain
}
