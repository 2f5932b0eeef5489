"""The style of a report as a page: light and dark, narrow and wide, on paper."""

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--text:#1a1d21;--soft:#5b6470;--line:#d6dbe1;--back:#fff;--band:#eef1f4;
--bad:#c0392b;--c0:#1f6fb2;--c1:#d1732a;--c2:#2e8b57;--c3:#8a56b0;--c4:#7d8794;--c5:#a88c1f}
@media(prefers-color-scheme:dark){:root{--text:#e6e9ec;--soft:#a2abb6;--line:#3a424c;--back:#15181c;
--band:#20252b;--bad:#e57361;--c0:#63aee8;--c1:#f0a060;--c2:#63c38d;--c3:#bd93df;--c4:#98a2ae;--c5:#d6bc57}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:62rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0 0 .3rem}
h2{font-size:1.1rem;margin:2rem 0 .6rem;border-bottom:1px solid var(--line)}
.about{color:var(--soft);margin:0 0 1rem}
.headline{font-size:1.1rem;background:var(--band);padding:.8rem 1rem;border-radius:6px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.5rem 0}
th,td{padding:.2rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
th{font-weight:600;color:var(--soft)}
p{margin:.3rem 0}
.detail{color:var(--soft);font-size:.9rem}
.charts{display:flex;flex-wrap:wrap;gap:1rem 1.5rem}
figure{margin:0;flex:1 1 22rem;max-width:29rem;break-inside:avoid}
figcaption{font-weight:600;font-size:.9rem}
svg{width:100%;height:auto;overflow:visible}
svg text{font:11px system-ui,sans-serif;fill:var(--text)}
svg .x,svg .name{text-anchor:middle}
svg .y{text-anchor:end}
svg .name{fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:.5}
.axis{stroke:var(--soft);fill:none}
.margin{fill:var(--band)}
.legend{font-size:.8rem;color:var(--soft)}
.legend span{display:inline-block;margin-right:.9rem}
.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.3em;border-radius:2px}
@media print{body{max-width:none;margin:0}h2{break-after:avoid}}
"""
