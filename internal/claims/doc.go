// Package claims reads JSON claim sets: claim paths, scope and audience
// matching, numeric dates, and says which issuers are one. It knows neither tokens nor HTTP and imports the
// standard library only. Anyone may import it.
package claims
