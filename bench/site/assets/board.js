/* Sorting, filters and their address, and what is picked to be compared. */
"use strict";
