// Command install puts the test providers into the user's cache, for CI and for
// who wants to test without a network later.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"kong-openid-connect/internal/testproviders"
)

func main() {
	failed := false
	for _, install := range []func(io.Writer) (testproviders.Installed, error){
		testproviders.InstallOIDCProvider, testproviders.InstallKeycloak,
	} {
		if _, err := install(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			var missing *testproviders.Missing
			if !errors.As(err, &missing) || os.Getenv("REQUIRE_PROVIDERS") == "1" {
				failed = true
			}
		}
	}
	if failed {
		os.Exit(1)
	}
}
