import time
def test_a(federate):
    for i in range(3):
        t=time.time(); f=federate(folder=str(i)); print(time.time()-t)
        for r in f.rows: print(r.round,r.client,r.rank1,r.pruned,r.crr,r.accuracy,r.weight,r.status,r.failed,r.bytes_up, r.bytes_down)
    print((f.folder/'report.md').read_text())
