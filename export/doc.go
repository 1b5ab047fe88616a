// Package export writes what a run directory holds in the shapes that other
// programs read: CSV, tidy CSV, JSON, Parquet, line protocol. It streams, row
// by row, so that a long run needs no more memory than a short one. It reads
// the store and knows nothing of how the numbers came about.
package export
