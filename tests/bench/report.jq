# SPDX-License-Identifier: MIT
#
# report.jq - what the rows of tests/bench/bench are called, and the tables of the report.

# A row's title, unit and which way is better.
def about($row):
  {"tcp-out": ["TCP, guest to host", "Mbit/s"], "tcp-in": ["TCP, host to guest", "Mbit/s"],
   "tcp-out-4": ["TCP, 4 streams, guest to host", "Mbit/s"],
   "tcp-in-4": ["TCP, 4 streams, host to guest", "Mbit/s"],
   "udp-out": ["64-byte datagrams, guest to host", "/s"],
   "udp-in": ["64-byte datagrams, host to guest, that arrive", "/s"],
   "rr": ["request and response, median", "us"],
   "seqread": ["1 MiB sequential read", "MB/s"], "seqwrite": ["1 MiB sequential write", "MB/s"]}[$row]
  // (($row | capture("^(?<how>read|write|mixed)-(?<n>[0-9]+)$")
      | ["4 KiB random \(.how), \(.n) at a time", "/s"])
  // ($row | capture("^(?<peer>[a-z]+)-(?<way>[a-z]+)-(?<mode>[a-z]+)-(?<n>[0-9]+)$")
      | [({"null-tx": "transmit, to nobody", "echo-rtt": "out and back, echoed", "source-rx": "receive",
           "tap-tx": "transmit, to a tap", "tap-rtt": "ARP to the tap and back",
           "disk-read": "4 KiB random read", "disk-write": "4 KiB random write"}["\(.peer)-\(.way)"])
         + ", " + {"poll": "polling", "irq": "by interrupt"}[.mode]
         + (if .n == "1" then ", 1 at a time, median" else ", \(.n) at a time" end),
         (if .n == "1" then "us" else "/s" end)]))
  | {title: .[0], unit: .[1], better: (if .[1] == "us" then "less" else "more" end)};

def show: sub(":"; " ");
def number:
  if . == null then "" elif . >= 100 or . <= -100 then round | tostring
  elif . >= 10 then . * 10 | round / 10 | tostring elif . > -0.1 and . < 0.1 then . * 10000 | round / 10000 | tostring
  else . * 100 | round / 100 | tostring end;
def range($low; $high): if $low == null then "" else "\($low | number) to \($high | number)" end;

def ratio:
  if . == null then ""
  elif .pairs < 6 then "\(.ratio | number), not significant (\(.pairs) round\(if .pairs == 1 then "" else "s" end))"
  else "\(.ratio | number) [\(.low | number) to \(.high | number)]"
       + (if .significant then "" else ", not significant" end) end;

def devices: {net: "The network (Linux guest)", blk: "The disk (Linux guest)", ring: "The rings (bare-metal guest)"};

# Each candidate of a row with what it copied: bytes for an operation, in the kernel and in user space, and of both together
# for a byte moved. Those that were not counted are as they were.
def with_copies($copies):
  . as $r | .candidates |= map(. as $c
    | ($copies | map(select(.device == $r.device and .row == $r.row and .candidate == $c.candidate and .ops > 0)) | first)
      as $n
    | if $n == null then . else .copied = {kernel: ($n.kernel / $n.ops), user: ($n.user / $n.ops),
        for_each_byte: (if $n.moved > 0 then ($n.kernel + $n.user) / $n.moved else null end)} end);

def has_copies($device): any(.[] | select(.device == $device) | .candidates[]; .copied);

# The lines of a device's tables, as arrays of text.
def figures($rows; $device):
  [["row", "candidate", "runs", "median", "10 % to 90 %", "95 % interval", "to minivmm inproc", "to QEMU, same path"]]
  + [$rows[] | select(.device == $device) | . as $r | .candidates[]
     | (.candidate | sub("^[^:]*:"; "")) as $path
     | ["\($r.title) (\($r.unit))", (.candidate | show), (.runs | tostring), (.median | number),
        range(.p10; .p90), range(.low; .high), (.ratio["minivmm:inproc"] | ratio),
        (.ratio["qemu:\($path)"] | ratio)]];

def costs($rows; $device):
  ["exits", "io", "mmio", "halt", "hostirq", "fault", "kicks", "interrupts", "switches", "batch", "guest", "user",
   "sys", "vhost", "daemon", "p50", "p99", "p999"] as $columns
  | ($rows | has_copies($device)) as $counted
  | [["row", "candidate", "exits", "of them ports", "memory", "halt", "host interrupt", "page fault", "kicks",
      "interrupts", "context switches", "batch", "guest us", "VMM user us", "VMM system us", "vhost us",
      "daemon us", "p50 us", "p99 us", "p99.9 us"]
     + if $counted then ["bytes copied, kernel", "bytes copied, user", "copied for each byte moved"] else [] end]
  + [$rows[] | select(.device == $device) | . as $r | .candidates[] | . as $c
     | [$r.title, (.candidate | show)] + [$columns[] | $c.also[.] | number]
       + if $counted then [$c.copied | .kernel, .user, .for_each_byte | number] else [] end];

def markdown: (.[0] | "| " + join(" | ") + " |\n|" + (map("---|") | join(""))),
  (.[1:][] | "| " + join(" | ") + " |");

def html: "<table><thead><tr>" + (.[0] | map("<th>\(@html)</th>") | join("")) + "</tr></thead><tbody>"
  + (.[1:] | map("<tr>" + (map("<td>\(@html)</td>") | join("")) + "</tr>") | join("\n")) + "</tbody></table>";

def present: . as $rows | ["net", "blk", "ring"] | map(select(. as $d | $rows | any(.device == $d)));
