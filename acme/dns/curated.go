package dns

import (
	"github.com/go-acme/lego/v4/providers/dns/acmedns"
	"github.com/go-acme/lego/v4/providers/dns/autodns"
	"github.com/go-acme/lego/v4/providers/dns/azuredns"
	"github.com/go-acme/lego/v4/providers/dns/cloudflare"
	"github.com/go-acme/lego/v4/providers/dns/cloudns"
	"github.com/go-acme/lego/v4/providers/dns/cpanel"
	"github.com/go-acme/lego/v4/providers/dns/desec"
	"github.com/go-acme/lego/v4/providers/dns/digitalocean"
	"github.com/go-acme/lego/v4/providers/dns/dnsimple"
	"github.com/go-acme/lego/v4/providers/dns/dnsmadeeasy"
	"github.com/go-acme/lego/v4/providers/dns/domeneshop"
	"github.com/go-acme/lego/v4/providers/dns/dreamhost"
	"github.com/go-acme/lego/v4/providers/dns/duckdns"
	"github.com/go-acme/lego/v4/providers/dns/dynu"
	"github.com/go-acme/lego/v4/providers/dns/easydns"
	"github.com/go-acme/lego/v4/providers/dns/exec"
	"github.com/go-acme/lego/v4/providers/dns/gandiv5"
	"github.com/go-acme/lego/v4/providers/dns/gcore"
	"github.com/go-acme/lego/v4/providers/dns/glesys"
	"github.com/go-acme/lego/v4/providers/dns/godaddy"
	"github.com/go-acme/lego/v4/providers/dns/hetzner"
	"github.com/go-acme/lego/v4/providers/dns/hostingde"
	"github.com/go-acme/lego/v4/providers/dns/hostinger"
	"github.com/go-acme/lego/v4/providers/dns/httpreq"
	"github.com/go-acme/lego/v4/providers/dns/infomaniak"
	"github.com/go-acme/lego/v4/providers/dns/ionos"
	"github.com/go-acme/lego/v4/providers/dns/joker"
	"github.com/go-acme/lego/v4/providers/dns/linode"
	"github.com/go-acme/lego/v4/providers/dns/loopia"
	"github.com/go-acme/lego/v4/providers/dns/luadns"
	"github.com/go-acme/lego/v4/providers/dns/mittwald"
	"github.com/go-acme/lego/v4/providers/dns/mythicbeasts"
	"github.com/go-acme/lego/v4/providers/dns/namecheap"
	"github.com/go-acme/lego/v4/providers/dns/netcup"
	"github.com/go-acme/lego/v4/providers/dns/netlify"
	"github.com/go-acme/lego/v4/providers/dns/njalla"
	"github.com/go-acme/lego/v4/providers/dns/ns1"
	"github.com/go-acme/lego/v4/providers/dns/ovh"
	"github.com/go-acme/lego/v4/providers/dns/pdns"
	"github.com/go-acme/lego/v4/providers/dns/plesk"
	"github.com/go-acme/lego/v4/providers/dns/porkbun"
	"github.com/go-acme/lego/v4/providers/dns/rackspace"
	"github.com/go-acme/lego/v4/providers/dns/rcodezero"
	"github.com/go-acme/lego/v4/providers/dns/rfc2136"
	"github.com/go-acme/lego/v4/providers/dns/route53"
	"github.com/go-acme/lego/v4/providers/dns/simply"
	"github.com/go-acme/lego/v4/providers/dns/spaceship"
	"github.com/go-acme/lego/v4/providers/dns/variomedia"
	"github.com/go-acme/lego/v4/providers/dns/vercel"
	"github.com/go-acme/lego/v4/providers/dns/vultr"
	"github.com/go-acme/lego/v4/providers/dns/websupport"
	"github.com/go-acme/lego/v4/providers/dns/zoneee"
)

// curated are the DNS providers of the default build: those that people use
// most and whose dependencies are small. docs/dns-providers.md has what each costs.
var curated = map[string]func() (Provider, error){
	"acme-dns":       construct(acmedns.NewDNSProvider),
	"acmedns":        construct(acmedns.NewDNSProvider),
	"autodns":        construct(autodns.NewDNSProvider),
	"azuredns":       construct(azuredns.NewDNSProvider),
	"cloudflare":     construct(cloudflare.NewDNSProvider),
	"cloudns":        construct(cloudns.NewDNSProvider),
	"cpanel":         construct(cpanel.NewDNSProvider),
	"desec":          construct(desec.NewDNSProvider),
	"digitalocean":   construct(digitalocean.NewDNSProvider),
	"dnsimple":       construct(dnsimple.NewDNSProvider),
	"dnsmadeeasy":    construct(dnsmadeeasy.NewDNSProvider),
	"dnsupdate":      construct(rfc2136.NewDNSProvider),
	"domainnameshop": construct(domeneshop.NewDNSProvider),
	"domeneshop":     construct(domeneshop.NewDNSProvider),
	"dreamhost":      construct(dreamhost.NewDNSProvider),
	"duckdns":        construct(duckdns.NewDNSProvider),
	"dynu":           construct(dynu.NewDNSProvider),
	"easydns":        construct(easydns.NewDNSProvider),
	"exec":           construct(exec.NewDNSProvider),
	"gandiv5":        construct(gandiv5.NewDNSProvider),
	"gcore":          construct(gcore.NewDNSProvider),
	"glesys":         construct(glesys.NewDNSProvider),
	"godaddy":        construct(godaddy.NewDNSProvider),
	"hetzner":        construct(hetzner.NewDNSProvider),
	"hostingde":      construct(hostingde.NewDNSProvider),
	"hostinger":      construct(hostinger.NewDNSProvider),
	"httpreq":        construct(httpreq.NewDNSProvider),
	"infomaniak":     construct(infomaniak.NewDNSProvider),
	"ionos":          construct(ionos.NewDNSProvider),
	"joker":          construct(joker.NewDNSProvider),
	"linode":         construct(linode.NewDNSProvider),
	"linodev4":       construct(linode.NewDNSProvider),
	"loopia":         construct(loopia.NewDNSProvider),
	"luadns":         construct(luadns.NewDNSProvider),
	"mittwald":       construct(mittwald.NewDNSProvider),
	"mythicbeasts":   construct(mythicbeasts.NewDNSProvider),
	"namecheap":      construct(namecheap.NewDNSProvider),
	"netcup":         construct(netcup.NewDNSProvider),
	"netlify":        construct(netlify.NewDNSProvider),
	"njalla":         construct(njalla.NewDNSProvider),
	"ns1":            construct(ns1.NewDNSProvider),
	"ovh":            construct(ovh.NewDNSProvider),
	"pdns":           construct(pdns.NewDNSProvider),
	"plesk":          construct(plesk.NewDNSProvider),
	"porkbun":        construct(porkbun.NewDNSProvider),
	"rackspace":      construct(rackspace.NewDNSProvider),
	"rcodezero":      construct(rcodezero.NewDNSProvider),
	"rfc2136":        construct(rfc2136.NewDNSProvider),
	"route53":        construct(route53.NewDNSProvider),
	"simply":         construct(simply.NewDNSProvider),
	"spaceship":      construct(spaceship.NewDNSProvider),
	"variomedia":     construct(variomedia.NewDNSProvider),
	"vercel":         construct(vercel.NewDNSProvider),
	"vultr":          construct(vultr.NewDNSProvider),
	"websupport":     construct(websupport.NewDNSProvider),
	"zoneee":         construct(zoneee.NewDNSProvider),
}

func construct[P Provider](f func() (P, error)) func() (Provider, error) {
	return func() (Provider, error) { return f() }
}
