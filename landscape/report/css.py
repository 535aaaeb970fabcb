"""The look of the page: light, dark where the reader's system is, and on paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --muted: #595959; --line: #d0d4d9;
  --page: #ffffff; --shade: #f4f6f8; --warn: #fff5e0; --warn-line: #b36b00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --muted: #a8adb3; --line: #41464d; --page: #16181b;
    --shade: #22262b; --warn: #33280f; --warn-line: #d99a2b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 72rem; background: var(--page);
  color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line); }
p, .warnings { max-width: 48rem; }
.warnings { background: var(--warn); border-left: 4px solid var(--warn-line);
  padding: .6rem 1rem; margin: 1.5rem 0; font-size: .9rem; overflow-wrap: anywhere; }
.warnings ul { margin: .3rem 0 0; padding-left: 1.2rem; }
.table { margin: 1.5rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; line-height: 1.35; width: 100%;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; font-size: .95rem; padding: 0 0 .5rem; }
th, td { padding: .3rem .45rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
thead th, thead td { vertical-align: bottom; border-bottom: 2px solid var(--muted); }
th[scope=row], thead > tr > :first-child { text-align: left; font-weight: 600; }
th[scope=row] { white-space: nowrap; }
tbody tr:hover { background: var(--shade); }
td small, th small { display: block; color: var(--muted); font-size: .8em; font-weight: 400; }
td.absent { color: var(--muted); font-style: italic; white-space: normal; }
.words table { font-size: .72rem; }
.words th, .words td { text-align: left; white-space: normal; overflow-wrap: anywhere;
  min-width: 3.6rem; font-weight: 400; }
.words td:nth-child(6) { min-width: 8rem; }
.words thead th { font-weight: 600; overflow-wrap: normal; }
.words td:nth-child(3) { font-family: ui-monospace, "DejaVu Sans Mono", monospace;
  min-width: 16rem; }
.notes { color: var(--muted); font-size: .8rem; margin: .5rem 0 0; padding-left: 1.1rem;
  max-width: 52rem; }
figure { margin: 1.5rem 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; padding: .6rem;
  border: 1px solid var(--line); border-radius: 6px; }
figcaption { color: var(--muted); font-size: .85rem; margin-top: .5rem; max-width: 52rem; }
.absent-figure { color: var(--muted); font-style: italic; }
@page { size: A4; margin: 14mm 12mm; }
@media print {
  :root { color-scheme: light; --ink: #000; --muted: #444; --line: #bbb; --page: #fff;
    --shade: #fff; --warn: #fff; }
  body { padding: 0; max-width: none; font-size: 10pt; }
  h1 { font-size: 16pt; } h2 { font-size: 12.5pt; margin: 1.4rem 0 .5rem; break-after: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; } .words table { font-size: 6pt; }
  th, td { padding: 2pt 3pt; }
  .words td:nth-child(3) { min-width: 0; }
  .words th, .words td, .words td:nth-child(6) { min-width: 0; }
  caption { font-size: 9.5pt; break-after: avoid; } th[scope=row] { white-space: normal; }
  thead { display: table-header-group; } tr { break-inside: avoid; }
  figure, .table:not(.words) { break-inside: avoid; }
  figure img { border: 0; padding: 0; } figcaption, .notes { font-size: 8pt; }
}
"""
