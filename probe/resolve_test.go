package probe

import (
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// nameServer answers with the records that it is given, by UDP and TCP.
func nameServer(t *testing.T, answer func(q dns.Question, m *dns.Msg)) string {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		t.Skipf("the port is taken: %v", err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg).SetReply(r)
		m.RecursionAvailable = true
		answer(r.Question[0], m)
		if w.LocalAddr().Network() == "udp" {
			m.Truncate(512)
		}
		_ = w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return udp.LocalAddr().String()
}

// zone is what a name server has.
func zone(t *testing.T, records ...string) func(q dns.Question, m *dns.Msg) {
	t.Helper()
	var all []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	return func(q dns.Question, m *dns.Msg) {
		m.Rcode = dns.RcodeNameError
		for _, rr := range all {
			if !strings.EqualFold(rr.Header().Name, q.Name) {
				continue
			}
			m.Rcode = dns.RcodeSuccess
			if rr.Header().Rrtype == q.Qtype || rr.Header().Rrtype == dns.TypeCNAME {
				m.Answer = append(m.Answer, rr)
			}
		}
	}
}

func TestAHostHasAllAddressesOfBothFamilies(t *testing.T) {
	t.Parallel()
	many := []string{"many.example.com. AAAA 2001:db8::1"}
	for i := range maxAddresses {
		many = append(many, fmt.Sprintf("many.example.com. A 192.0.2.%d", i))
	}
	good := nameServer(t, zone(t, append(many,
		"pool.example.com. A 192.0.2.2", "pool.example.com. A 192.0.2.1", "pool.example.com. AAAA 2001:db8::1",
		"old.example.com. A 192.0.2.1", "new.example.com. AAAA 2001:db8::1", "empty.example.com. TXT none",
		"mapped.example.com. A 192.0.2.1", "mapped.example.com. AAAA ::ffff:192.0.2.1",
	)...))
	half := nameServer(t, func(q dns.Question, m *dns.Msg) {
		if zone(t, "pool.example.com. A 192.0.2.1")(q, m); q.Qtype == dns.TypeAAAA {
			m.Rcode = dns.RcodeServerFailure
		}
	})
	for _, tt := range []struct{ server, host, want, problem string }{
		{good, "pool.example.com", "192.0.2.1 192.0.2.2 2001:db8::1", ""},
		{good, "old.example.com", "192.0.2.1", ""},
		{good, "new.example.com", "2001:db8::1", ""},
		{good, "mapped.example.com", "192.0.2.1", ""},
		{good, "empty.example.com", "", "empty.example.com has no address"},
		{good, "nobody.example.com", "", "nobody.example.com has no address"},
		{good, "192.0.2.9", "192.0.2.9", ""},
		{good, "2001:db8::9", "2001:db8::9", ""},
		{half, "pool.example.com", "192.0.2.1", "the IPv6 addresses of pool.example.com can't be looked up: server misbehaving"},
	} {
		t.Run(tt.host+tt.problem, func(t *testing.T) {
			t.Parallel()
			ips, err := Resolver{tt.server}.Addresses(t.Context(), tt.host)
			if got := strings.Trim(fmt.Sprint(ips), "[]"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if got := fmt.Sprint(err); (tt.problem == "") != (err == nil) || !strings.Contains(got, tt.problem) {
				t.Errorf("got %v, want %q", err, tt.problem)
			}
		})
	}
	if ips, err := (Resolver{good}).Addresses(t.Context(), "many.example.com"); len(ips) != maxAddresses || err == nil || !strings.Contains(err.Error(), "65 addresses, and 64 are looked at") {
		t.Errorf("%d addresses, %v", len(ips), err)
	}
	// What is in the file of hosts counts, as for other programs.
	if ips, err := (Resolver{good}).Addresses(t.Context(), "localhost"); err != nil || !strings.Contains(fmt.Sprint(ips), "127.0.0.1") {
		t.Errorf("%v, %v", ips, err)
	}
}

func TestTLSARecordsAreAskedFor(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("ab", 32)
	long := []string{}
	for i := range 30 { // they come by TCP
		long = append(long, fmt.Sprintf("_443._tcp.long.example.com. TLSA 3 1 1 %02x%s", i, data[2:]))
	}
	good := nameServer(t, zone(t, append(long,
		"_25._tcp.mail.example.com. TLSA 3 1 1 "+data, "_25._tcp.mail.example.com. TLSA 2 0 2 "+data+data,
		"_25._tcp.alias.example.com. CNAME _25._tcp.mail.example.com.",
	)...))
	failing := nameServer(t, func(_ dns.Question, m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := closed.LocalAddr().String()
	closed.Close()

	raw, _ := hex.DecodeString(data)
	got, err := Resolver{dead, failing, good}.TLSA(t.Context(), "_25._tcp.mail.example.com")
	if err != nil || len(got) != 2 || got[0].Usage != 3 || got[0].Selector != 1 || got[0].Matching != 1 || string(got[0].Data) != string(raw) || got[1].Usage != 2 || len(got[1].Data) != 64 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := (Resolver{good}).TLSA(t.Context(), "_443._tcp.long.example.com"); err != nil || len(got) != 30 {
		t.Errorf("%d records, %v", len(got), err)
	}
	for _, host := range []string{"nobody.example.com", "alias.example.com"} { // it is a recursive server that follows
		if got, err := (Resolver{good}).TLSA(t.Context(), "_25._tcp."+host); err != nil || len(got) != 0 {
			t.Errorf("%s: %+v, %v", host, got, err)
		}
	}
	if got, err := (Resolver{failing}).TLSA(t.Context(), "_25._tcp.mail.example.com"); err == nil || !strings.Contains(err.Error(), "answers SERVFAIL") {
		t.Errorf("%+v, %v", got, err)
	}
}
