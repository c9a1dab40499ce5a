// Package arch holds the tree's rules: which package may import which, and
// which package owns which library. It has tests only.
package arch
