package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte(minimal))
	for _, tt := range bad {
		f.Add([]byte(tt.yaml))
	}
	for _, tt := range complete {
		f.Add([]byte(tt.yaml))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("/c.yaml", data, nil)
		doc, docErr := newDocument("/c.yaml", data)
		if err == nil && (docErr != nil || doc.State != cfg.State || doc.Operators != cfg.Operators) {
			t.Errorf("what is read first is %+v, %v, and then %q, %q", doc, docErr, cfg.State, cfg.Operators)
		}
		if err != nil {
			if strings.ContainsFunc(strings.ReplaceAll(err.Error(), "\n", ""), func(r rune) bool { return r < ' ' || (r >= 0x7f && r < 0xa0) }) {
				t.Errorf("control characters in %q", err)
			}
			return
		}
		for _, c := range cfg.Certificates {
			if !validName.MatchString(c.Name) || len(c.Domains) == 0 || c.Backups < 1 || !c.ACME.AcceptTerms {
				t.Errorf("accepted: %+v", c)
			}
			for _, domain := range c.Domains {
				if again, err := ParseDomain(domain); again != domain || err != nil {
					t.Errorf("%q is not in its final form: %q, %v", domain, again, err)
				}
			}
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	f.Add("1w2d3h")
	f.Add("2000000h") // more weeks than could be read once
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if again, err := ParseDuration(FormatDuration(d)); d < 0 || again != d || err != nil {
			t.Errorf("%q is %s, written as %q, which reads as %s (%v)", s, d, FormatDuration(d), again, err)
		}
	})
}

// BenchmarkParse reads 1,000 certificates, and reports how much longer that takes
// than decoding the same document into a struct with the YAML library alone.
func BenchmarkParse(b *testing.B) {
	var doc strings.Builder
	doc.WriteString("acme: {accept_terms: true}\ncertificates:\n")
	for i := range 1000 {
		fmt.Fprintf(&doc, "  - domains: [h%d.example.com, i%d.example.com]\n    deploy: [{command: [systemctl, reload, nginx]}]\n", i, i)
	}
	data := []byte(doc.String())
	var ours, bare time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := Parse("/c.yaml", data, nil); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)
		start = time.Now()
		var v struct {
			ACME struct {
				AcceptTerms bool `yaml:"accept_terms"`
			} `yaml:"acme"`
			Certificates []struct {
				Domains []string `yaml:"domains"`
				Deploy  []struct {
					Command []string `yaml:"command"`
				} `yaml:"deploy"`
			} `yaml:"certificates"`
		}
		if err := yaml.Unmarshal(data, &v); err != nil {
			b.Fatal(err)
		}
		bare += time.Since(start)
	}
	b.ReportMetric(float64(ours)/float64(bare), "x-yaml")
}
