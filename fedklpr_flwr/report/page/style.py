"""The page's style sheet: one page, light and dark, from a phone's width on.

Series colours are Okabe and Ito's, told apart by colour-blind readers, lighter on dark paper; every
series and every verdict has another sign beside its colour.
"""

STYLE = """
:root{color-scheme:light dark;--paper:#f7f6f2;--card:#fff;--ink:#1d1c1a;--soft:#66635b;
--rule:#e2dfd6;--shade:#00000030;--heat:#04386c;--on-heat:#fff;--on-pale:#000;--right:#007a56;--wrong:#c4460a;--note:#fff3d6;
--note-ink:#5b4100;--c0:#c8500a;--c1:#0b6bb3;--c2:#008a63;--c3:#b4588b;--c4:#1d1c1a;--c5:#b57900;
--c6:#3b8fc4;--c7:#6f4fa0}
@media (prefers-color-scheme:dark){:root{--paper:#141513;--card:#1d1e1b;--ink:#ecebe5;
--soft:#a5a298;--rule:#34352f;--shade:#ffffff38;--heat:#62a4e0;--on-heat:#000;--on-pale:#fff;--right:#3fd0a0;--wrong:#ff8a4a;
--note:#3a2f12;--note-ink:#f4dda0;--c0:#ff8f4d;--c1:#5fb0f0;--c2:#34c795;--c3:#e79cc4;--c4:#ecebe5;
--c5:#f0b93a;--c6:#9bd6f7;--c7:#b9a0ee}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:28px 16px 56px}
h1{font-size:1.5rem;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:1.05rem;line-height:1.3;margin:0 0 2px}
h3{font-size:.95rem;margin:22px 0 6px}
p{margin:0 0 10px}
a{color:var(--c1)}
.what,.said,.small{color:var(--soft)}
.what{margin:2px 0 18px;overflow-wrap:anywhere}
.said{font-size:.86rem;margin:0 0 10px;max-width:72ch}
.small{font-size:.84rem}
.note{background:var(--note);color:var(--note-ink);border-radius:8px;padding:10px 14px;
margin:0 0 16px;font-size:.92rem;overflow-wrap:anywhere}
.note strong{margin-right:.3em}
.note ul{margin:4px 0 0;padding-left:1.2em}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px;
margin:0 0 16px}
.figure{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:12px 14px}
.figure b{display:block;font-size:1.5rem;line-height:1.25;font-weight:650;
font-variant-numeric:tabular-nums;white-space:nowrap}
.figure span{display:block;font-size:.82rem;color:var(--soft)}
.figure .of{color:var(--ink);font-size:.86rem}
.cards{columns:2 400px;column-gap:16px;margin-bottom:16px}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:16px 18px;
margin:0 0 16px;break-inside:avoid}
section.wide{break-inside:auto}
.empty{color:var(--soft);border:1px dashed var(--rule);border-radius:8px;padding:18px 14px;
font-size:.9rem;margin:6px 0 0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:0 -4px;padding:0 4px;background:
linear-gradient(90deg,var(--card) 40%,transparent) left/28px 100% no-repeat local,
linear-gradient(270deg,var(--card) 40%,transparent) right/28px 100% no-repeat local,
linear-gradient(90deg,var(--shade),transparent) left/14px 100% no-repeat scroll,
linear-gradient(270deg,var(--shade),transparent) right/14px 100% no-repeat scroll}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
.scroll+.small{margin-top:12px}
th,td{text-align:right;padding:5px 8px;border-bottom:1px solid var(--rule);white-space:nowrap;
vertical-align:middle}
th{color:var(--soft);font-weight:500;font-size:.8rem}
th:first-child,td:first-child{text-align:left;padding-left:0}
td.words,th.words{text-align:left}
td.words{white-space:normal;overflow-wrap:anywhere;min-width:12ch}
tr.total td{font-weight:650;border-bottom:0}
details{margin-top:16px}
details.card{background:var(--card);border:1px solid var(--rule);border-radius:10px;
padding:12px 18px}
summary{cursor:pointer;font-weight:600;font-size:.95rem}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font-size:12px;fill:var(--ink);font-family:inherit;font-variant-numeric:tabular-nums}
svg .tick{fill:var(--soft);font-size:11.5px}
svg .axis{fill:var(--soft);font-size:11.5px}
svg .name{font-size:12px;font-weight:600}
.grid{stroke:var(--rule);stroke-width:1}
.leader{stroke:var(--soft);stroke-width:.7;stroke-dasharray:1.5 2.5}
.level{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
.line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.line.many{stroke:var(--soft);stroke-width:.9;opacity:.45}
.line.mean{stroke:var(--ink);stroke-width:2.6}
.line.thin{stroke:var(--soft);stroke-width:1.3}
.mark{fill:var(--c);stroke:var(--card);stroke-width:.9}
.mark.s5,.mark.s6,.s6.line{stroke-linecap:round}
.mark.s5,.mark.s6{stroke:var(--c);stroke-width:1.7}
.name{fill:var(--c)!important}
.name.mean,.name.many{fill:var(--ink)!important}
.s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3)}
.s4{--c:var(--c4)}.s5{--c:var(--c5)}.s6{--c:var(--c6)}.s7{--c:var(--c7)}
.bar{fill:var(--c)}
.heat{fill:var(--heat)}
.held{fill:var(--c1);fill-opacity:.16}
rect.empty{fill:none;stroke:var(--rule)}
.struck{stroke:var(--soft);stroke-width:1}
.whisker{stroke:var(--ink);stroke-width:1.3}
svg .on-dark{fill:var(--on-heat);font-size:10.5px}
svg .on-light{fill:var(--on-pale);font-size:10.5px}
.pruned-area{fill:var(--c1);fill-opacity:.15}
.mark.pruned{fill:var(--c1);stroke:var(--card)}
.mark.held-level{fill:var(--card);stroke:var(--c5);stroke-width:2}
.mark.held-drop{fill:var(--card);stroke:var(--c0);stroke-width:2}
.mark.at-target{fill:var(--c2);stroke:var(--card)}
.mark.off{fill:var(--soft);stroke:none}
.mark.idle{fill:none;stroke:var(--c3);stroke-width:2;stroke-linecap:round}
.mark.missed{fill:none;stroke:var(--wrong);stroke-width:2;stroke-linecap:round}
.key{list-style:none;margin:0 0 8px;padding:0;display:flex;flex-wrap:wrap;gap:2px 16px;
font-size:.84rem;color:var(--soft)}
.key li{display:flex;align-items:center;gap:6px}
.sign{width:15px;height:15px;flex:none}
.swatch{width:11px;height:11px;border-radius:2px;background:var(--c);flex:none}
td svg{width:140px;min-width:140px}
.list{display:flex;flex-wrap:wrap;gap:6px 5px;margin:2px 0 8px;align-items:flex-start}
.list figure,.asked figure{margin:0;width:78px;position:relative}
.query{display:grid;grid-template-columns:auto 1fr;gap:14px;border-top:1px solid var(--rule);
padding:12px 0 4px}
.list p{flex-basis:100%;margin:0}
.query img{display:block;width:100%;aspect-ratio:1/2;object-fit:cover;border-radius:4px;
background:var(--rule)}
.asked img{outline:2px solid var(--soft);outline-offset:-2px}
.right img{outline:3px solid var(--right);outline-offset:-3px}
.wrong img{outline:3px dashed var(--wrong);outline-offset:-3px}
.query figcaption{font-size:.7rem;color:var(--soft);text-align:center;line-height:1.3;
white-space:nowrap}
.badge{position:absolute;top:0;left:0;width:19px;height:19px;border-radius:4px 0 9px 0;
font-size:.78rem;font-weight:700;line-height:19px;text-align:center;color:var(--card)}
.right .badge{background:var(--right)}
.wrong .badge{background:var(--wrong)}
@media (max-width:940px){.figures{grid-template-columns:repeat(3,1fr)}
.list figure,.asked figure{width:56px}}
@media (max-width:520px){td.words:not(:has(svg)){min-width:30ch}
svg .tick,svg .axis,svg .name{font-size:13px}
main{padding:18px 10px 40px}section{padding:14px 12px}
.query{grid-template-columns:1fr;gap:6px}.figures{grid-template-columns:1fr 1fr}
.figure b{font-size:1.4rem}.list figure{width:calc(20% - 4px)}.asked figure{width:20%}}
@media print{body{background:#fff}section,.figure{break-inside:avoid}}
"""
