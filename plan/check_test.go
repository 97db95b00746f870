package plan

import (
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"

	"keepkey/pinset"
)

// A certificate is worth a word when its renewal is overdue, and never before that is due.
func TestEndsThatAreWorthAWord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name              string
		lifetime          time.Duration
		window            time.Duration // of the CA, before the end; 0 for none
		warning, critical time.Duration
	}{
		{"a third is left when it is due", 90 * day, 0, 22*day + 12*time.Hour, 15 * day},
		{"a half, where it is short-lived", 6 * day, 0, 60 * time.Hour, 24 * time.Hour},
		{"a CA that wants it earlier", 90 * day, 60 * day, 22*day + 12*time.Hour, 15 * day},
		{"a CA that wants it later", 90 * day, 25 * day, 17*day + 12*time.Hour, 15 * day},
		{"a CA that wants it last-minute", 90 * day, day, 15 * day, 15 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := settled()
			in.State.Certificate.NotAfter = t0.Add(tt.lifetime)
			if tt.window > 0 {
				in.State.Window.Start = t0.Add(tt.lifetime - tt.window)
				in.State.Window.End = in.State.Window.Start.Add(time.Second)
			}
			served := &x509.Certificate{SerialNumber: big.NewInt(0x5e), NotBefore: t0, NotAfter: t0.Add(tt.lifetime)}
			warning, critical := Ending(in, served)
			if (warning-tt.warning).Abs() > time.Minute || critical != tt.critical {
				t.Errorf("%s and %s, want %s and %s", warning, critical, tt.warning, tt.critical)
			}
			for at := range 1000 { // at no time is there a word before a renewal would be tried
				in.Now = t0.Add(tt.lifetime * time.Duration(at) / 1000)
				if due, _, _ := renewal(in); served.NotAfter.Sub(in.Now) < warning && in.Now.Before(due) {
					t.Fatalf("after %s it is told, and due only after %s", in.Now.Sub(t0), due.Sub(t0))
				}
			}
		})
	}
}

// What a look says first is the worst that it found at any of an address's servers.
func TestTheGravestOfAPoolIsToldFirst(t *testing.T) {
	t.Parallel()
	order := []Code{ServerUnreachable, ServedCertificateOld, ServedKeyWrong, ServedKeyUnknown}
	for i, code := range order {
		for j, than := range order {
			if Graver(code, than) != (i > j) {
				t.Errorf("%s is graver than %s: %v", code, than, Graver(code, than))
			}
		}
	}
}

func TestServersAreNamedByAddressAndIP(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ addr, ip, want string }{
		{"api.example.com:443", "192.0.2.1", "api.example.com:443 at 192.0.2.1"},
		{"api.example.com:443", "", "api.example.com:443"},
		{"192.0.2.1:443", "192.0.2.1", "192.0.2.1:443"},
		{"smtp://[::1]:25", "::1", "smtp://[::1]:25"},
	} {
		if got := (Server{Addr: tt.addr, IP: tt.ip}).String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// A key from before a rollover is a warning only as long as servers may take for the new one,
// and never when others may have it.
func TestTheKeyFromBeforeARollover(t *testing.T) {
	t.Parallel()
	in := settled()
	old := &x509.Certificate{SerialNumber: big.NewInt(1), RawSubjectPublicKeyInfo: []byte("old")}
	from := pinset.OfCertificate(old)
	in.State.Keys = append(in.State.Keys, Key{Pin: from, Role: Retired, Created: t0})
	server := Server{Addr: "api.example.com:443", IP: "192.0.2.1", Name: "api.example.com", Chain: []*x509.Certificate{old}}
	for _, tt := range []struct {
		name     string
		rollover *Rollover
		at       time.Duration
		settles  bool
	}{
		{"right after the switch", &Rollover{From: from, To: testPin(1), Switched: in.Now}, 0, true},
		{"an hour later", &Rollover{From: from, To: testPin(1), Switched: in.Now}, time.Hour, false},
		{"compromised", &Rollover{From: from, To: testPin(1), Switched: in.Now, Compromised: true}, 0, false},
		{"after another rollover", &Rollover{From: testPin(3), To: testPin(1), Switched: in.Now}, 0, false},
		{"after none", nil, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := in
			in.State = in.State.Clone()
			in.State.Rollover = tt.rollover
			in.Now = in.Now.Add(tt.at)
			found := JudgeServer(in, server)
			if len(found) != 1 || found[0].Code != ServedKeyWrong || found[0].Time.IsZero() == tt.settles {
				t.Errorf("%+v", found)
			}
		})
	}
	if found := JudgeServer(in, Server{Addr: "a:443", Err: errors.New("connection refused")}); len(found) != 1 || found[0].Code != ServerUnreachable {
		t.Errorf("%+v", found)
	}
}
