package services

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// Options are the flags that host and plugin have in common.
type Options struct {
	cookie, versions, services string
	certificate, key, ca       string
}

// Declare adds the flags.
func (o *Options) Declare() {
	flag.StringVar(&o.cookie, "cookie", "BASIC_PLUGIN=hello", "NAME=VALUE of the magic cookie")
	flag.StringVar(&o.services, "services", strings.Join(Names, ","), "names of the services of each version")
	flag.StringVar(&o.versions, "versions", "1", "NUMBER or NUMBER=SERVICE+SERVICE, with commas between")
	flag.StringVar(&o.certificate, "tls-cert", "", "PEM file: static TLS, this side's certificate")
	flag.StringVar(&o.key, "tls-key", "", "PEM file: its key")
	flag.StringVar(&o.ca, "tls-ca", "", "PEM file: who signs the other side's certificate")
}

// Handshake has the cookie. Versions are in the sets.
func (o *Options) Handshake() plugin.HandshakeConfig {
	key, value, _ := strings.Cut(o.cookie, "=")
	return plugin.HandshakeConfig{MagicCookieKey: key, MagicCookieValue: value}
}

// Sets are the plugins of each version.
func (o *Options) Sets(logger hclog.Logger) (map[int]plugin.PluginSet, error) {
	sets := map[int]plugin.PluginSet{}
	for item := range strings.SplitSeq(o.versions, ",") {
		number, services, found := strings.Cut(item, "=")
		names := strings.Split(services, "+")
		if !found {
			names = strings.Split(o.services, ",")
		}
		version, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("-versions: %w", err)
		}
		if sets[version], err = Set(version, names, logger); err != nil {
			return nil, err
		}
	}
	return sets, nil
}

// StaticTLS is what the flags say, nil without them. It does for both roles: broker connections go both ways.
func (o *Options) StaticTLS(client tls.ClientAuthType) (*tls.Config, error) {
	if o.certificate == "" && o.ca == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "localhost", ClientAuth: client}
	if o.certificate != "" {
		pair, err := tls.LoadX509KeyPair(o.certificate, o.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if o.ca != "" {
		text, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("no certificate in %s", o.ca)
		}
		config.RootCAs, config.ClientCAs = pool, pool
	}
	return config, nil
}
