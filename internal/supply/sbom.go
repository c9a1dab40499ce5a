package supply

import (
	"io"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// WriteSBOM writes the bill of materials of a program as CycloneDX JSON: the
// program with its version, and each module with its package URL and licences.
// It has neither a date nor a random serial number, so that it is reproducible.
func WriteSBOM(w io.Writer, name, version string, modules []Module) error {
	b := cdx.NewBOM()
	ref := "pkg:generic/" + name + "@" + version
	b.Metadata = &cdx.Metadata{Component: &cdx.Component{
		BOMRef: ref, Type: cdx.ComponentTypeApplication, Name: name, Version: version,
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}}
	var components []cdx.Component
	var refs []string
	for _, m := range modules {
		version := m.Version
		if m.Path == "std" {
			version = strings.TrimPrefix(version, "go") // as package URLs have it
		}
		c := cdx.Component{Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: version, PackageURL: "pkg:golang/" + m.Path + "@" + version}
		c.BOMRef = c.PackageURL
		licences := cdx.Licenses{}
		for _, l := range m.Licences {
			licences = append(licences, cdx.LicenseChoice{License: &cdx.License{ID: l}})
		}
		c.Licenses = &licences
		components, refs = append(components, c), append(refs, c.BOMRef)
	}
	b.Components = &components
	b.Dependencies = &[]cdx.Dependency{{Ref: ref, Dependencies: &refs}}
	return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).Encode(b)
}
