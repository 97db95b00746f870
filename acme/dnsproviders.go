package acme

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-acme/lego/v4/challenge"
)

// KnownDNSProvider says whether this build can use a DNS provider, and if not,
// what to do about it.
func KnownDNSProvider(name string) error {
	all := strings.Fields(legoProviders)
	switch {
	case !slices.Contains(all, name):
		return fmt.Errorf("there is no DNS provider %.100q; docs/dns-providers.md lists them", name)
	case !linked(name):
		return fmt.Errorf("the DNS provider %q is not in the default build, for its size; build keepkey with -tags alldns (docs/dns-providers.md says how)", name)
	}
	return nil
}

// environment guards the process's environment. lego's providers read their
// settings from there and from nowhere else, and two certificates may have
// different settings for the same provider.
var environment sync.Mutex

// withEnvironment runs f with the variables set, and puts back what was there.
func withEnvironment(env map[string]string, f func() error) error {
	environment.Lock()
	defer environment.Unlock()
	for name, value := range env {
		old, was := os.LookupEnv(name)
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("variable %s: its value can't be set", name)
		}
		defer func() {
			if was {
				os.Setenv(name, old)
			} else {
				os.Unsetenv(name)
			}
		}()
	}
	return f()
}

// openDNSProvider makes a provider with the settings in env, over those of the
// process's environment.
func openDNSProvider(name string, env map[string]string) (p challenge.Provider, err error) {
	err = withEnvironment(env, func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("it panicked: %.200q", fmt.Sprint(r))
			}
		}()
		p, err = newDNSProvider(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("DNS provider %s: %w", name, err)
	}
	if name == "exec" {
		// Its scripts are children, which see the environment as it is then.
		return execProvider{p.(sequentialProvider), env}, nil
	}
	return p, nil
}

type sequentialProvider interface {
	challenge.ProviderTimeout
	Sequential() time.Duration
}

type execProvider struct {
	sequentialProvider
	env map[string]string
}

func (p execProvider) Present(domain, token, keyAuth string) error {
	return withEnvironment(p.env, func() error { return p.sequentialProvider.Present(domain, token, keyAuth) })
}

func (p execProvider) CleanUp(domain, token, keyAuth string) error {
	return withEnvironment(p.env, func() error { return p.sequentialProvider.CleanUp(domain, token, keyAuth) })
}

// legoProviders are the names of all DNS providers in lego v4.35.2, but for
// "manual", which asks a person at a terminal.
const legoProviders = `
acme-dns acmedns active24 alidns aliesa allinkl alwaysdata anexia artfiles arvancloud
auroradns autodns axelname azion azure azuredns baiducloud beget binarylane bindman
bluecat bluecatv2 bookmyname brandit bunny checkdomain civo clouddns cloudflare cloudns
cloudru cloudxns com35 conoha conohav3 constellix corenetworks cpanel czechia ddnss derak
desec designate digitalocean directadmin dnsexit dnshomede dnsimple dnsmadeeasy dnspod
dnsupdate dode domainnameshop domeneshop dreamhost duckdns dyn dyndnsfree dynu easydns
edgecenter edgedns edgeone efficientip epik eurodns excedo exec exoscale f5xc fastdns
freemyip gandi gandiv5 gcloud gcore gigahostno glesys godaddy googledomains gravity
hetzner hostingde hostinger hostingnl hosttech httpnet httpreq huaweicloud hurricane
hyperone ibmcloud iij iijdpf infoblox infomaniak internetbs inwx ionos ionoscloud ipv64
ispconfig ispconfigddns iwantmyname jdcloud joker keyhelp leaseweb liara lightsail
limacity linode linodev4 liquidweb loopia luadns mailinabox manageengine metaname
metaregistrar mijnhost mittwald myaddr mydnsjp mythicbeasts namecheap namedotcom namesilo
namesurfer nearlyfreespeech neodigit netcup netlify netnod nicmanager nicru nifcloud
njalla nodion ns1 octenium onecloudru onlinenet oraclecloud otc ovh pdns plesk porkbun
rackspace rainyun rcodezero regfish regru rfc2136 rimuhosting route53 safedns sakuracloud
scaleway selectel selectelv2 selfhostde servercow shellrent simply sonic spaceship
stackpath syse technitium tencentcloud timewebcloud todaynic transip ucloud ultradns
uniteddomains variomedia vegadns vercel versio vinyldns virtualname vkcloud volcengine
vscale vultr webnames webnamesca webnamesru websupport wedos westcn yandex yandex360
yandexcloud zoneedit zoneee zonomi
`
