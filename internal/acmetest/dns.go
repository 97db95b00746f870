package acmetest

import (
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
)

// DNS is a name server that is authoritative for everything: every name resolves
// to one address unless it is given others, each two-label suffix is a zone, and TXT
// records come and go by signed dynamic update (RFC 2136, RFC 8945).
type DNS struct {
	Addr string // host:port, both UDP and TCP

	host    string
	servers []*dns.Server
	fails   atomic.Bool

	mu      sync.Mutex
	txt     map[string][]string // by name in lower case with the final dot
	added   []dns.RR
	updates int
}

// What signs dynamic updates.
const (
	TSIGKey       = "keepkey."
	TSIGSecret    = "a2VlcGtleSBrZWVwcyBrZXlz"
	TSIGAlgorithm = dns.HmacSHA256
)

func startDNS(host string) (*DNS, error) {
	d := &DNS{host: host, txt: make(map[string][]string)}
	// The same port for both protocols: the kernel picks for one, and the other
	// may be taken, so a few tries.
	var err error
	for range 20 {
		var tcp net.Listener
		var udp net.PacketConn
		// Not on the challenges' host: a port that is taken there could be theirs.
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err != nil {
			tcp.Close()
			continue
		}
		d.Addr = tcp.Addr().String()
		secrets := map[string]string{TSIGKey: TSIGSecret}
		// The library refuses updates unless told otherwise.
		accept := func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		d.servers = []*dns.Server{
			{Listener: tcp, Handler: d, TsigSecret: secrets, MsgAcceptFunc: accept},
			{PacketConn: udp, Handler: d, TsigSecret: secrets, MsgAcceptFunc: accept},
		}
		for _, s := range d.servers {
			started := make(chan struct{})
			s.NotifyStartedFunc = func() { close(started) }
			go s.ActivateAndServe()
			<-started
		}
		return d, nil
	}
	return nil, err
}

func (d *DNS) close() {
	for _, s := range d.servers {
		s.Shutdown()
	}
}

// SetTXT adds a TXT record.
func (d *DNS) SetTXT(name, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = dns.CanonicalName(name)
	d.txt[name] = append(d.txt[name], value)
}

// Add adds a record, as a zone file has it. A name that is given an address has no others,
// of either family.
func (d *DNS) Add(record string) error {
	rr, err := dns.NewRR(record)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.added = append(d.added, rr)
	return nil
}

// extra returns the records that were added for a question. only says that the name has no
// others of that type.
func (d *DNS) extra(q dns.Question) (records []dns.RR, only bool) {
	isAddress := func(t uint16) bool { return t == dns.TypeA || t == dns.TypeAAAA }
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, rr := range d.added {
		h := rr.Header()
		if h.Name != dns.CanonicalName(q.Name) {
			continue
		}
		only = only || (isAddress(q.Qtype) && isAddress(h.Rrtype))
		if h.Rrtype == q.Qtype {
			records = append(records, rr)
		}
	}
	return records, only
}

// RemoveTXT takes a TXT record away.
func (d *DNS) RemoveTXT(name, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = dns.CanonicalName(name)
	d.txt[name] = slices.DeleteFunc(d.txt[name], func(v string) bool { return v == value })
}

// Fail has every question fail, or none any more.
func (d *DNS) Fail(fails bool) { d.fails.Store(fails) }

// TXT returns how many TXT records there are, over all names.
func (d *DNS) TXT() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, values := range d.txt {
		n += len(values)
	}
	return n
}

// Updates returns how many signed updates were taken.
func (d *DNS) Updates() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.updates
}

// ServeDNS implements [dns.Handler].
func (d *DNS) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(r)
	m.Authoritative, m.RecursionAvailable = true, true
	switch {
	case d.fails.Load():
		m.Rcode = dns.RcodeServerFailure
	case r.Opcode == dns.OpcodeUpdate:
		d.update(w, r, m)
	case len(r.Question) == 1:
		d.answer(r.Question[0], m)
	}
	w.WriteMsg(m)
}

func (d *DNS) answer(q dns.Question, m *dns.Msg) {
	header := func(t uint16, name string) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: 1}
	}
	name := dns.CanonicalName(q.Name)
	zone := ZoneOf(name)
	soa := &dns.SOA{Hdr: header(dns.TypeSOA, zone), Ns: "ns1." + zone, Mbox: "ops." + zone, Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: 1}
	added, only := d.extra(q)
	m.Answer = append(m.Answer, added...)
	switch {
	case only:
	case q.Qtype == dns.TypeA && name == soa.Ns:
		here, _, _ := net.SplitHostPort(d.Addr)
		m.Answer = append(m.Answer, &dns.A{Hdr: header(dns.TypeA, q.Name), A: net.ParseIP(here)})
	case q.Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: header(dns.TypeA, q.Name), A: net.ParseIP(d.host)})
	case q.Qtype == dns.TypeTXT:
		d.mu.Lock()
		for _, v := range d.txt[name] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header(dns.TypeTXT, q.Name), Txt: []string{v}})
		}
		d.mu.Unlock()
	case q.Qtype == dns.TypeSOA && name == zone:
		m.Answer = append(m.Answer, soa)
	case q.Qtype == dns.TypeNS && name == zone:
		m.Answer = append(m.Answer, &dns.NS{Hdr: header(dns.TypeNS, zone), Ns: soa.Ns})
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, soa)
	}
}

// ZoneOf returns the zone of a name: its last two labels.
func ZoneOf(name string) string {
	labels := dns.SplitDomainName(name)
	if len(labels) > 2 {
		labels = labels[len(labels)-2:]
	}
	return strings.Join(labels, ".") + "."
}

// update carries out a dynamic update: additions, and deletions of a record or
// of all of a name's.
func (d *DNS) update(w dns.ResponseWriter, r, m *dns.Msg) {
	if r.IsTsig() == nil || w.TsigStatus() != nil {
		m.Rcode = dns.RcodeRefused
		return
	}
	for _, rr := range r.Ns {
		name := dns.CanonicalName(rr.Header().Name)
		txt, isTXT := rr.(*dns.TXT)
		switch {
		case rr.Header().Class == dns.ClassANY:
			d.mu.Lock()
			delete(d.txt, name)
			d.mu.Unlock()
		case isTXT && rr.Header().Class == dns.ClassNONE:
			d.RemoveTXT(name, strings.Join(txt.Txt, ""))
		case isTXT:
			d.SetTXT(name, strings.Join(txt.Txt, ""))
		}
	}
	d.mu.Lock()
	d.updates++
	d.mu.Unlock()
	m.SetTsig(TSIGKey, TSIGAlgorithm, 300, int64(r.IsTsig().TimeSigned))
}
