package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"kong-openid-connect/internal/store/postgres/pgtest"
)

// withDatabase reports whether the real Kong has a database (E2E_DATABASE=postgres).
func withDatabase() bool { return os.Getenv("E2E_DATABASE") == "postgres" }

// workers is how many workers the gateway has: those of E2E_WORKERS, else those that the test asks for.
func workers(asked int) (int, error) {
	v := os.Getenv("E2E_WORKERS")
	if v == "" {
		return asked, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 16 {
		return 0, fmt.Errorf("E2E_WORKERS=%q: write a number from 1 to 16", v)
	}
	return n, nil
}

// Database is a PostgreSQL of Kong's. Gateways that are given the same one are
// the nodes of one cluster.
type Database struct {
	server   *pgtest.Server
	settings map[string]string // of a kong.conf
	filled   bool              // a node has written its declarative file into it
}

// NewDatabase starts a throwaway PostgreSQL.
func NewDatabase() (*Database, error) {
	pg, err := pgtest.New()
	if err != nil {
		return nil, err
	}
	// A password of its own: pgtest's cannot be written into a kong.conf.
	const user, password = "e2e", "e2e-database-password"
	if out, err := pg.SQL("postgres", "CREATE ROLE "+user+" LOGIN PASSWORD '"+password+"'"); err != nil {
		pg.Close()
		return nil, fmt.Errorf("make a role for Kong: %w: %s", err, out)
	}
	if out, err := pg.SQL("postgres", "CREATE DATABASE kong OWNER "+user); err != nil {
		pg.Close()
		return nil, fmt.Errorf("make a database for Kong: %w: %s", err, out)
	}
	d := &Database{server: pg, settings: pg.Kong("kong")}
	d.settings["pg_user"], d.settings["pg_password"] = user, password
	return d, nil
}

// Close ends the server and removes its data.
func (d *Database) Close() { d.server.Close() }

// Stop ends the server as a crash does; Start starts it again.
func (d *Database) Stop() { d.server.Stop() }

// Start starts a stopped server and waits until it answers.
func (d *Database) Start() error { return d.server.Start() }

// use points a kong.conf at the database.
func (d *Database) use(conf map[string]string) {
	delete(conf, "declarative_config")
	maps.Copy(conf, d.settings)
	maps.Copy(conf, map[string]string{
		// Kong's are 5 seconds; tests wait for changes.
		"worker_state_update_frequency": "0.2", "db_update_frequency": "0.5",
	})
}

// nested are the collections below an entity: the name in a declarative file,
// and the one in the Admin API's paths.
var nested = map[string]map[string]string{
	"services":  {"routes": "routes", "plugins": "plugins"},
	"routes":    {"plugins": "plugins"},
	"consumers": {"plugins": "plugins", "keyauth_credentials": "key-auth", "basicauth_credentials": "basic-auth", "acls": "acls", "oauth2_credentials": "oauth2"},
}

// parents first: an entity may refer to those of the kinds before it.
var kinds = []string{"certificates", "ca_certificates", "services", "routes", "consumers", "plugins"}

// fill makes the entities of a declarative file through the Admin API, one by
// one, as a person with a database does. References are as the Admin API takes
// them; of the file's own, by plain names, there are none in the tests' file.
func fill(admin, file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for key := range doc {
		if key[0] != '_' && !slices.Contains(kinds, key) {
			return fmt.Errorf("%s: entities of kind %s are not known here: add them to kinds", file, key)
		}
	}
	if err := awaitAdmin(admin); err != nil {
		return err
	}
	for _, kind := range kinds {
		if err := create(admin+"/"+kind, kind, doc[kind]); err != nil {
			return err
		}
	}
	return nil
}

// create posts a list of entities and what is nested in each.
func create(address, kind string, list any) error {
	entities, _ := list.([]any)
	for _, e := range entities {
		m, ok := e.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: %v is no entity", kind, e)
		}
		below := map[string]any{}
		for name := range nested[kind] {
			if v, ok := m[name]; ok {
				below[name] = v
				delete(m, name)
			}
		}
		made, err := post(address, m)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(below)) {
			base, err := url.Parse(address)
			if err != nil {
				return err
			}
			base.Path = "/" + kind + "/" + made + "/" + nested[kind][name]
			if err := create(base.String(), name, below[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// post makes one entity and returns its id.
func post(address string, entity map[string]any) (string, error) {
	body, err := json.Marshal(entity)
	if err != nil {
		return "", err
	}
	resp, err := http.Post(address, "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var made struct{ ID string }
	if resp.StatusCode != 201 || json.Unmarshal(answer, &made) != nil || made.ID == "" {
		return "", fmt.Errorf("POST %s %s: %s: %s", address, body, resp.Status, answer)
	}
	return made.ID, nil
}

// awaitAdmin waits until the Admin API answers.
func awaitAdmin(admin string) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		resp, err := http.Get(admin + "/status")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return nil
			}
			err = fmt.Errorf("GET /status: %s", resp.Status)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the Admin API does not answer: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
