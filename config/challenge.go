package config

import (
	"time"

	"gopkg.in/yaml.v3"
)

func (d *decoder) challenge(dest *Challenge) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		ch := Challenge{}
		before := len(d.errs)
		d.mapping(n, path, fields{
			"http-01": func(n *yaml.Node, path string) {
				ch.HTTP01 = &HTTP01{}
				d.mapping(n, path, fields{
					"listen":  d.listen(&ch.HTTP01.Listen),
					"webroot": d.directory(&ch.HTTP01.Webroot, "the path of a web server's document root"),
				})
				if n.Kind == yaml.MappingNode && given(n, "listen", "webroot") != 1 {
					d.errorf(n, path, "want either listen or webroot")
				}
			},
			"tls-alpn-01": func(n *yaml.Node, path string) {
				ch.TLSALPN01 = &TLSALPN01{Listen: ":443"}
				d.mapping(n, path, fields{"listen": d.listen(&ch.TLSALPN01.Listen)})
			},
			"dns-01": func(n *yaml.Node, path string) {
				ch.DNS01 = &DNS01{Propagation: Propagation{Check: "authoritative"}}
				d.mapping(n, path, fields{
					"provider":    d.provider(&ch.DNS01.Provider),
					"env_file":    d.secret(&ch.DNS01.EnvFile, "the path of a file with the provider's variables"),
					"propagation": d.propagation(&ch.DNS01.Propagation),
				})
				if n.Kind == yaml.MappingNode && given(n, "provider") == 0 {
					d.errorf(n, path, "provider is missing: want the name of a DNS provider")
				}
			},
		})
		if n.Kind == yaml.MappingNode && len(n.Content) != 2 && (len(d.errs) == before || given(n, "http-01", "tls-alpn-01", "dns-01") > 1) {
			d.errorf(n, path, "want exactly one of http-01, tls-alpn-01, dns-01")
		}
		*dest = ch
	}
}

func (d *decoder) provider(dest *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if !d.textAt(dest, "the name of a DNS provider", n, path) || d.knownProvider == nil {
			return
		}
		if err := d.knownProvider(*dest); err != nil {
			d.errorf(n, path, "%v", err)
		}
	}
}

func (d *decoder) propagation(dest *Propagation) func(*yaml.Node, string) {
	const want = "authoritative, resolvers, or a duration to wait instead"
	return func(n *yaml.Node, path string) {
		var s string
		if !d.textAt(&s, want, n, path) {
			return
		}
		if s == "authoritative" || s == "resolvers" {
			*dest = Propagation{Check: s}
			return
		}
		wait, err := ParseDuration(s)
		if err != nil || wait > time.Hour {
			d.errorf(n, path, "%.100q: want %s (at most 1h)", s, want)
			return
		}
		*dest = Propagation{Check: "none", Wait: wait}
	}
}
