import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Two stateful hops: each record becomes its key's row and goes on. Ends with its input. */
public class TwoHops {
    static class Keep implements Processor<Bytes, byte[], Bytes, byte[]> {
        private final String store;
        private ProcessorContext<Bytes, byte[]> context;
        private KeyValueStore<Bytes, byte[]> rows;

        Keep(String store) { this.store = store; }

        @Override public void init(ProcessorContext<Bytes, byte[]> c) {
            context = c;
            rows = c.getStateStore(store);
        }

        @Override public void process(Record<Bytes, byte[]> r) {
            rows.get(r.key());
            rows.put(r.key(), r.value());
            context.forward(r);
        }
    }

    static void hop(StreamsBuilder b, String store, String in, String out) {
        b.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(store), Serdes.Bytes(), Serdes.ByteArray()));
        b.<Bytes, byte[]>stream(in).process(() -> new Keep(store), store).to(out);
    }

    public static void main(String[] a) throws Exception {
        Properties p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, a[0]);
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, a[1]);
        p.put(StreamsConfig.STATE_DIR_CONFIG, a[5]);
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.BytesSerde.class);
        p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        p.put("auto.offset.reset", "earliest");
        StreamsBuilder b = new StreamsBuilder();
        hop(b, "a", a[2], a[3]);
        hop(b, "b", a[3], a[4]);
        KafkaStreams s = new KafkaStreams(b.build(), p);
        s.start();
        System.in.read();
        s.close();
    }
}
