package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kong-openid-connect/internal/sandbox/provider"
)

// python returns an interpreter with dlt and DuckDB, installed from PyPI into
// the user's cache where it is not there yet.
func python() (string, error) {
	wanted, err := os.ReadFile("../../testdata/dlt/requirements.txt")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(wanted)
	dir := filepath.Join(cache, "kong-openid-connect", "dlt-"+hex.EncodeToString(sum[:8]))
	interpreter := filepath.Join(dir, "bin", "python")
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return interpreter, nil
	}
	// An interrupted installation begins anew.
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"python3", "-m", "venv", dir},
		{interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", "../../testdata/dlt/requirements.txt"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", args[0], err, bytes.TrimSpace(out))
		}
	}
	return interpreter, os.WriteFile(filepath.Join(dir, "complete"), nil, 0o600)
}

func TestDltPipelineLoadsBothTables(t *testing.T) {
	interpreter, err := python()
	if err != nil {
		if os.Getenv("REQUIRE_PYTHON") == "1" {
			t.Fatal(err)
		}
		t.Skip("left out: dlt cannot be installed: ", err)
	}
	newBrowser(t).get("/bearer", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 200)
	waitForOwnKeys(t)
	cmd := exec.Command(interpreter, "../../testdata/dlt/pipeline.py", env.Admin, t.TempDir())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the pipeline: %v\n%s\n%s", err, out, errs.String())
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var rows map[string]int
	if err := json.Unmarshal(lines[len(lines)-1], &rows); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if rows["jwks"] < 10 || rows["discovery_cache"] < 1 {
		t.Errorf("rows %v", rows)
	}
}
