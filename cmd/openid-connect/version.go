package main

import "runtime/debug"

// version is stamped by the build.
var version = "dev"

// versionText is what -version prints: the stamp, what it was built from where
// that is known, and by which Go for which system.
func versionText() string {
	text := "openid-connect " + version
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return text
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	if r := set["vcs.revision"]; len(r) >= 12 {
		text += " (" + r[:12]
		if set["vcs.modified"] == "true" {
			text += ", changed"
		}
		text += ")"
	}
	return text + " " + info.GoVersion + " " + set["GOOS"] + "/" + set["GOARCH"]
}
