"""The package behind the workbook's pages. Rooms import one way only; `lib.rooms` holds the order."""
