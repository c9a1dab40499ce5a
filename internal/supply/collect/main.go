// Command collect writes the licence texts of all modules that a program links
// into a directory, and its bill of materials. It fails on a licence that is
// not allowed. The container image is built with it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path"

	"kong-openid-connect/internal/supply"
)

func main() {
	into := flag.String("licences", "", "`directory` for the licence texts")
	sbom := flag.String("sbom", "", "`file` for the bill of materials (CycloneDX JSON)")
	version := flag.String("version", "dev", "the program's `version` in the bill of materials")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: collect [-licences DIR] [-sbom FILE -version VERSION] PACKAGE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *into, *sbom, *version); err != nil {
		fmt.Fprintln(os.Stderr, "collect:", err)
		os.Exit(1)
	}
}

func run(program, into, sbom, version string) error {
	modules, err := supply.Linked(".", program)
	if err != nil {
		return err
	}
	if into != "" {
		if err := supply.Collect(modules, into); err != nil {
			return err
		}
	}
	if sbom == "" {
		return nil
	}
	f, err := os.Create(sbom)
	if err != nil {
		return err
	}
	return errors.Join(supply.WriteSBOM(f, path.Base(program), version, modules), f.Close())
}
